"""Rate limit: how many calls and tokens a minute go to models, and how many calls at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import ClassVar

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._generation.middleware.base import Middleware, ModelParams, Next, WireConfig
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag._net.rate_limits import ConcurrencyLimit, RateLimiter

LONGEST_HOLD = 60.0
"""Seconds: what a server asks for beyond that is not waited for."""

_PER_CHARACTER = 0.25  # tokens, by the rule of thumb of four characters a token


@dataclass(frozen=True)
class RateLimit(Middleware):
    """Holds model calls back so that no more than that start in a minute, or run at a time.

    The bounds hold for everything that this object is used for, whatever the model, thread or event loop; calls at a
    time are counted in each event loop by itself. Nothing is refused: a call waits for its turn, first come, first
    served. When an error says how long to wait (`retry_after`), no further call starts before, up to a minute. Put
    `retry` outside of it: every attempt is then counted.

    Args:
        requests_per_minute: Calls; after a pause some may start at once, five seconds' worth.
        tokens_per_minute: Tokens of question and answer. A call counts what is estimated first (a quarter of the
            question's characters, and `max_output_tokens` where given), and what the model says in the end.
        max_concurrent: Calls at a time.
    """

    wire_config: ClassVar[WireConfig] = {
        "requests_per_minute": float | None,
        "tokens_per_minute": float | None,
        "max_concurrent": int | None,
    }

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrent: int | None = None
    count_tokens: Callable[[ModelRequest], float] | None = field(default=None, repr=False, kw_only=True)
    _limits: RateLimiter = field(init=False, repr=False, compare=False)
    _gate: ConcurrencyLimit | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bounds: dict[str, float | None] = {
            name: getattr(self, name) for name in ("requests_per_minute", "tokens_per_minute", "max_concurrent")
        }
        if all(bound is None for bound in bounds.values()):
            raise invalid("requests_per_minute", None, "or another bound must be given")
        for name, bound in bounds.items():
            if bound is not None and not (0 < bound < math.inf):
                raise invalid(name, bound, "must be a positive number")
        if not isinstance(self.max_concurrent, int | None):
            raise invalid("max_concurrent", self.max_concurrent, "must be a whole number")
        # With no bound of requests they are still held back together when a server asks for a pause.
        object.__setattr__(self, "_limits", RateLimiter(self.requests_per_minute or math.inf, self.tokens_per_minute))
        gate = None if self.max_concurrent is None else ConcurrencyLimit(self.max_concurrent)
        object.__setattr__(self, "_gate", gate)

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Returns the response of a call that has waited for its turn."""
        estimated = 0.0 if self.tokens_per_minute is None else (self.count_tokens or estimate)(params.sent)
        async with AsyncExitStack() as stack:
            if self._gate is not None:
                await stack.enter_async_context(self._gate())
            await self._limits.wait(estimated)
            try:
                response = await next(params)
            except GenkitError as error:
                if error.retry_after:
                    self._limits.hold(min(error.retry_after, LONGEST_HOLD))
                raise
        if self.tokens_per_minute is not None and response.usage and response.usage.total_tokens is not None:
            self._limits.correct(response.usage.total_tokens - estimated)
        return response


def estimate(request: ModelRequest) -> float:
    """Returns about how many tokens a request costs."""
    characters = sum(len(part.text or "") for message in request.messages for part in message.content)
    characters += sum(len(document.text) for document in request.docs or ())
    return math.ceil(characters * _PER_CHARACTER) + (request.typed_config().max_output_tokens or 0)


rate_limit = RateLimit
