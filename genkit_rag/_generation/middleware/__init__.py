"""Middleware of the generate loop, of model calls and of tool runs."""

from genkit_rag._generation.middleware.base import (
    GenerateParams,
    Middleware,
    MiddlewareRef,
    ModelMiddlewareFn,
    ModelParams,
    Next,
    ToolParams,
    Use,
    UseItem,
    added_tools,
    as_middleware,
    attach_middleware,
    chain,
    overrides,
)
from genkit_rag._generation.middleware.fallback import FALLBACK_STATUSES, Fallback, fallback
from genkit_rag._generation.middleware.registered import (
    MiddlewareDefinition,
    define_middleware,
    middleware_descriptions,
    to_middleware,
)
from genkit_rag._generation.middleware.retry import RETRY_STATUSES, Retry, retry

__all__ = [
    "FALLBACK_STATUSES",
    "RETRY_STATUSES",
    "Fallback",
    "GenerateParams",
    "Middleware",
    "MiddlewareDefinition",
    "MiddlewareRef",
    "ModelMiddlewareFn",
    "ModelParams",
    "Next",
    "Retry",
    "ToolParams",
    "Use",
    "UseItem",
    "added_tools",
    "as_middleware",
    "attach_middleware",
    "chain",
    "define_middleware",
    "fallback",
    "middleware_descriptions",
    "overrides",
    "retry",
    "to_middleware",
]
