"""Rendering: the first request of a generation, without sending it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.generate.loop import GenerateCall, run_generation
from genkit_rag._generation.generate.options import GenerateOptions, first_request
from genkit_rag._generation.middleware.base import ModelParams
from genkit_rag._generation.model import ModelRequest
from genkit_rag._generation.tools.interrupts import to_resume


class _Rendered(BaseException):
    """Carries the request out of the loop; a `BaseException`, so that no middleware handles it as a failed call."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__()
        self.request = request


class _Rendering(GenerateCall):
    """A generation that stops before the model is called."""

    async def _model_step(self, params: ModelParams) -> NoReturn:
        raise _Rendered(self._fit(params))


async def render(
    registry: Registry, options: GenerateOptions, *, context: Mapping[str, Any] | None = None
) -> ModelRequest:
    """Return the first request that `generate` would send to the model; no model is called and no tool runs.

    Middleware runs up to the model call. Raises the errors that `generate` raises before it, and FAILED_PRECONDITION
    when no model would be called.
    """
    if options.resume is not None and to_resume(options.resume).restart:
        raise invalid(
            "resume",
            options.resume,
            "must not restart tools, because rendering runs no tools",
            hint="Use `respond_to` instead.",
        )
    ctx = ActionContext(current_context() if context is None else context)
    try:
        await run_generation(registry, options, first_request(options), ctx, call_type=_Rendering)
    except _Rendered as found:
        return found.request
    raise GenkitError(
        "FAILED_PRECONDITION",
        "The model would not be called: middleware or `no_context` provides the answer.",
        hint="Check the middleware in `use=`, and `no_context=`.",
    )
