"""Fallback: another model when the first one fails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from genkit_rag._blocks.middleware.base import Middleware, ModelParams, Next, SentChunks
from genkit_rag._blocks.middleware.retry import RETRY_STATUSES, OnError, status_of
from genkit_rag._blocks.model import ModelAction, ModelResponse
from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import Status, invalid
from genkit_rag._core.registry import Registry

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
        sent, current = SentChunks.watch(params)
        others = iter(self.models)
        attempt = 1
        other: str | ModelAction | None = None
        while True:
            try:
                return await next(current if other is None else await self._params_for(other, current))
            except Exception as error:
                following = builtins_next(others)
                if following is None or sent.any or status_of(error) not in self.statuses:
                    raise
                if self.on_error is not None:
                    self.on_error(error, attempt)
                logger.warning("%s failed, going on with %s: %s", other or params.model.name, following, error)
                other, attempt = following, attempt + 1

    async def _params_for(self, model: str | ModelAction, params: ModelParams) -> ModelParams:
        if isinstance(model, str):
            model = await (self.registry or params.registry).get(ActionKind.MODEL, model)
        request = params.request
        if self.isolate_config:
            request = request.model_copy(update={"config": None})
        return replace(params, model=model, request=request)
