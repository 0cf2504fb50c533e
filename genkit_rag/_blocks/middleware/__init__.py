"""Middleware around the generate loop."""

from genkit_rag._blocks.middleware.base import (
    GenerateParams,
    Middleware,
    ModelMiddlewareFn,
    ModelParams,
    Next,
    ToolParams,
    Use,
    chain,
    overrides,
    to_middleware,
)
from genkit_rag._blocks.middleware.fallback import FALLBACK_STATUSES, Fallback, fallback
from genkit_rag._blocks.middleware.retry import RETRY_STATUSES, Retry, retry

__all__ = [
    "FALLBACK_STATUSES", "RETRY_STATUSES", "Fallback", "GenerateParams", "Middleware", "ModelMiddlewareFn",
    "ModelParams", "Next", "Retry", "ToolParams", "Use", "chain", "fallback", "overrides", "retry", "to_middleware",
]  # fmt: skip
