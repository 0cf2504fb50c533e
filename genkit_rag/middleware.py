"""Middleware: code around the steps of a generation, ready-made and your own."""

from genkit_rag._generation.augmentation import AugmentWithContext, augment_with_context
from genkit_rag._generation.middleware.approval import ToolApproval, tool_approval
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
)
from genkit_rag._generation.middleware.cache import Cache, cache
from genkit_rag._generation.middleware.constrained import SimulateConstrainedGeneration, simulate_constrained_generation
from genkit_rag._generation.middleware.fallback import FALLBACK_STATUSES, Fallback, fallback
from genkit_rag._generation.middleware.media import DownloadRequestMedia, download_request_media
from genkit_rag._generation.middleware.rate_limit import RateLimit, rate_limit
from genkit_rag._generation.middleware.redact import Redact, redact
from genkit_rag._generation.middleware.registered import MiddlewareDefinition
from genkit_rag._generation.middleware.retry import RETRY_STATUSES, Retry, retry
from genkit_rag._generation.middleware.system_prompt import SimulateSystemPrompt, simulate_system_prompt
from genkit_rag._generation.middleware.validate_support import ValidateSupport, validate_support

__all__ = [
    "FALLBACK_STATUSES",
    "RETRY_STATUSES",
    "AugmentWithContext",
    "Cache",
    "DownloadRequestMedia",
    "Fallback",
    "GenerateParams",
    "Middleware",
    "MiddlewareDefinition",
    "MiddlewareRef",
    "ModelMiddlewareFn",
    "ModelParams",
    "Next",
    "RateLimit",
    "Redact",
    "Retry",
    "SimulateConstrainedGeneration",
    "SimulateSystemPrompt",
    "ToolApproval",
    "ToolParams",
    "Use",
    "UseItem",
    "ValidateSupport",
    "augment_with_context",
    "cache",
    "download_request_media",
    "fallback",
    "rate_limit",
    "redact",
    "retry",
    "simulate_constrained_generation",
    "simulate_system_prompt",
    "tool_approval",
    "validate_support",
]
