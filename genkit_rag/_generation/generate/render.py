"""Shows the request that a generation would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.generate.loop import GenerateCall
from genkit_rag._generation.generate.options import GenerateOptions, first_request
from genkit_rag._generation.middleware.base import ModelParams
from genkit_rag._generation.model import ModelRequest
from genkit_rag._generation.tools.interrupts import to_resume


class _Rendered(BaseException):
    """Carries the request out of the loop; no Exception, so that no middleware takes it for a failed call."""

    def __init__(self, request: ModelRequest) -> None:
        super().__init__()
        self.request = request


class _Rendering(GenerateCall):
    """A generation that ends where the model would be called."""

    async def _model_step(self, params: ModelParams) -> NoReturn:
        raise _Rendered(self._fitted(params))


async def render(
    registry: Registry, options: GenerateOptions, *, context: Mapping[str, Any] | None = None
) -> ModelRequest:
    """Returns the request that `generate` would send to the model first; no model is asked, no tool runs.

    Middleware runs down to where the model would be called. Raises what `generate` would raise before that, and
    FAILED_PRECONDITION when the model would not be asked.
    """
    if options.resume is not None and to_resume(options.resume).restart:
        raise invalid("resume", options.resume, "restarts tools, and rendering runs none", hint="Respond to them.")
    ctx = ActionContext(current_context() if context is None else context)
    try:
        await _Rendering(registry, options).run(first_request(options), ctx)
    except _Rendered as found:
        return found.request
    raise GenkitError(
        "FAILED_PRECONDITION",
        "The model would not be asked: the answer comes from somewhere else.",
        hint="See the middleware in `use=`, and `no_context=`.",
    )
