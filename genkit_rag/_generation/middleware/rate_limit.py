"""Rate limit middleware: limits calls and tokens per minute, and concurrent calls."""

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
"""The longest `retry_after` in seconds that is waited for."""

_PER_CHARACTER = 0.25  # tokens; a token has about four characters


@dataclass(frozen=True)
class RateLimit(Middleware):
    """A middleware that delays model calls to stay within limits per minute and of concurrent calls.

    The limits apply to all calls through this object, across models, threads and event loops; concurrent calls are
    counted per event loop. Calls are never rejected; they wait in order of arrival. After an error with a
    `retry_after`, no call starts before that time, up to a minute. Put `retry` outside of it, so that every attempt
    counts.

    Args:
        requests_per_minute: The number of calls; after a pause, a burst of five seconds' worth may start at once.
        tokens_per_minute: The number of input and output tokens. A call first counts an estimate (a quarter of the
            input characters, plus `max_output_tokens` if set), which the usage in the response corrects.
        max_concurrent: The number of concurrent calls.
        count_tokens: Estimates the tokens of a request.
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
    _concurrency: ConcurrencyLimit | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bounds: dict[str, float | None] = {
            name: getattr(self, name) for name in ("requests_per_minute", "tokens_per_minute", "max_concurrent")
        }
        if all(bound is None for bound in bounds.values()):
            raise invalid(
                "requests_per_minute",
                None,
                "must be set, unless another limit is",
                hint="Set `requests_per_minute`, `tokens_per_minute` or `max_concurrent`.",
            )
        for name, bound in bounds.items():
            if bound is not None and not (0 < bound < math.inf):
                raise invalid(name, bound, "must be a positive number")
        if not isinstance(self.max_concurrent, int | None):
            raise invalid("max_concurrent", self.max_concurrent, "must be an integer")
        # Without a limit of requests, this still delays all calls when a server asks for a pause.
        object.__setattr__(self, "_limits", RateLimiter(self.requests_per_minute or math.inf, self.tokens_per_minute))
        concurrency = None if self.max_concurrent is None else ConcurrencyLimit(self.max_concurrent)
        object.__setattr__(self, "_concurrency", concurrency)

    async def wrap_model(self, params: ModelParams, next: Next[ModelParams, ModelResponse], /) -> ModelResponse:
        """Wait until the limits allow the call, then call the model."""
        estimated = 0.0 if self.tokens_per_minute is None else (self.count_tokens or estimate)(params.sent)
        async with AsyncExitStack() as stack:
            if self._concurrency is not None:
                await stack.enter_async_context(self._concurrency())
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
    """Estimate the tokens of a request."""
    characters = sum(len(part.text or "") for message in request.messages for part in message.content)
    characters += sum(len(document.text) for document in request.docs or ())
    return math.ceil(characters * _PER_CHARACTER) + (request.typed_config().max_output_tokens or 0)


rate_limit = RateLimit
