"""Fallback middleware: calls other models when a model fails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import Status, invalid
from genkit_rag._core.redact import redact_text
from genkit_rag._core.registry import Registry
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, SentChunks, WireConfig
from genkit_rag._generation.middleware.retry import RETRY_STATUSES, OnError, status_of
from genkit_rag._generation.model import ModelAction, ModelResponse

logger = logging.getLogger("genkit_rag.middleware")

FALLBACK_STATUSES: tuple[Status, ...] = (*RETRY_STATUSES, "NOT_FOUND", "UNIMPLEMENTED")
"""Statuses of errors that another model may not have."""


@dataclass(frozen=True)
class Fallback(Middleware):
    """A middleware that calls the next of `models` when a model call fails, each once, in order.

    Docs and output schema are fitted to what each model supports. There is no fallback after cancellation, after errors
    with other statuses, and after a chunk was streamed to the caller, because two models would mix in one answer.

    Args:
        models: The names of the models, or model actions.
        statuses: The statuses of errors to handle; an exception that is not a `GenkitError` counts as INTERNAL.
        isolate_config: Whether to call the other models without the first model's config.
        on_error: Called with the error and the number of the failed attempt, counted from 1.
        registry: The registry for the names; by default that of the generation.
    """

    wire_config: ClassVar[WireConfig] = {
        "models": list[str],
        "statuses": list[Status],
        "isolate_config": bool,
    }

    models: Sequence[str | ModelAction]
    statuses: Collection[Status] = FALLBACK_STATUSES
    isolate_config: bool = False
    on_error: OnError | None = None
    registry: Registry | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.models, str) or not self.models:
            raise invalid("models", self.models, "must be a list of at least one model")

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Return the response of the first model that succeeds; raise the last error otherwise."""
        sent, watched = SentChunks.watch(params)
        failed = 0
        while True:
            try:
                return await next(await self._params_for(failed, watched))
            except Exception as error:
                if failed == len(self.models) or sent.any or status_of(error) not in self.statuses:
                    raise
                failed += 1
                if self.on_error is not None:
                    self.on_error(error, failed)
                shown = redact_text(str(error))
                logger.warning("attempt %d failed, falling back to %s: %s", failed, self.models[failed - 1], shown)

    async def _params_for(self, failed: int, params: ModelParams) -> ModelParams:
        """Return the parameters of the attempt after `failed` failures."""
        if failed == 0:
            return params
        model = self.models[failed - 1]
        if isinstance(model, str):
            model = await (self.registry or params.registry).get(ActionKind.MODEL, model)
        request = params.request
        if self.isolate_config:
            request = request.model_copy(update={"config": None})
        return replace(params, model=model, request=request)


def fallback(
    registry: Registry,
    *,
    models: Sequence[str | ModelAction],
    statuses: Collection[Status] = FALLBACK_STATUSES,
    isolate_config: bool = False,
    on_error: OnError | None = None,
) -> Fallback:
    """Create a `Fallback` with these arguments."""
    return Fallback(models, statuses, isolate_config, on_error, registry=registry)
