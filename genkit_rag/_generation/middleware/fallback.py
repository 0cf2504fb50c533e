"""Fallback: another model when the first one fails."""

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
    """Asks the next of `models` when a model call fails, each once, in their order.

    Docs and output schema are fitted to every model by what it supports. Never done after cancellation, other
    statuses, or when a chunk was streamed to the caller already: two models would speak in one answer.

    Args:
        models: Names (or model actions).
        statuses: Which errors are worth it; an error that is no GenkitError counts as INTERNAL.
        isolate_config: Do not give the first model's config to the others.
        on_error: Called with the error and the number of the attempt that failed, from 1.
        registry: Where the names are looked up; the generation's own by default.
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
        """Returns the first response that comes; raises the last error."""
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
                said = redact_text(str(error))
                logger.warning("attempt %d failed, going on with %s: %s", failed, self.models[failed - 1], said)

    async def _params_for(self, failed: int, params: ModelParams) -> ModelParams:
        """Returns the parameters of the attempt after so many failures."""
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
    """Returns `Fallback` with its arguments."""
    return Fallback(models, statuses, isolate_config, on_error, registry=registry)
