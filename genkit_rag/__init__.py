"""RAG in which everything is an Action: embedders, indexers, retrievers, rerankers, models and tools in one registry.

This is the door for users. Plugin authors use `genkit_rag.plugin_api`, their tests `genkit_rag.testing`.
"""

from genkit_rag._ai.genkit import Genkit
from genkit_rag._blocks.augmentation import augment_with_context
from genkit_rag._blocks.document import Document
from genkit_rag._blocks.embedding import EmbedderInfo, Embedding, EmbedResponse
from genkit_rag._blocks.middleware import Fallback, Middleware, Retry, fallback, retry
from genkit_rag._blocks.model import (
    Citation,
    GenerationConfig,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    Usage,
)
from genkit_rag._blocks.options import EmbedderOptions, IndexerOptions, RerankerOptions, RetrieverOptions
from genkit_rag._blocks.part import Media, Message, Part, ToolRequest, ToolResponse
from genkit_rag._blocks.retrieval import IndexerResponse, RetrieverResponse
from genkit_rag._core.action import Action, ActionStream
from genkit_rag._core.context import ActionContext, current_context
from genkit_rag._core.errors import GenkitError, MissingExtra, PublicError
from genkit_rag._core.plugin import Plugin

__all__ = [
    "Action",
    "ActionContext",
    "ActionStream",
    "Citation",
    "Document",
    "EmbedResponse",
    "EmbedderInfo",
    "EmbedderOptions",
    "Embedding",
    "Fallback",
    "GenerationConfig",
    "Genkit",
    "GenkitError",
    "IndexerOptions",
    "IndexerResponse",
    "Media",
    "Message",
    "Middleware",
    "MissingExtra",
    "ModelInfo",
    "ModelRequest",
    "ModelResponse",
    "ModelResponseChunk",
    "Part",
    "Plugin",
    "PublicError",
    "RerankerOptions",
    "RetrieverOptions",
    "RetrieverResponse",
    "Retry",
    "ToolRequest",
    "ToolResponse",
    "Usage",
    "augment_with_context",
    "current_context",
    "fallback",
    "retry",
]
