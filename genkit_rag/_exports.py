"""What users import from `genkit_rag`, which gets it from here at the first name that is asked for."""

from genkit_rag._ai.genkit import Genkit
from genkit_rag._core.action import Action, ActionStream
from genkit_rag._core.context import ActionContext, Interrupt, current_context
from genkit_rag._core.errors import GenkitError, MissingExtra, PublicError
from genkit_rag._core.registry import Plugin
from genkit_rag._documents.citations import Citation, Citations
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Media, Message, Part, Resource, ToolRequest, ToolResponse
from genkit_rag._generation.augmentation import augment_with_context
from genkit_rag._generation.formats import Format, Wanted
from genkit_rag._generation.middleware import Fallback, Middleware, Retry, fallback, retry
from genkit_rag._generation.middleware.base import MiddlewareRef
from genkit_rag._generation.model import (
    GenerationConfig,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    Usage,
)
from genkit_rag._generation.no_context import NoContext
from genkit_rag._generation.operation import Operation
from genkit_rag._generation.prompt import ExecutablePrompt, HelperBlock
from genkit_rag._generation.resource import resource_action
from genkit_rag._generation.tools.interrupts import Resume, respond_to, restart
from genkit_rag._generation.tools.tool import Tool, ToolOutput
from genkit_rag._rag.embedding import EmbedderInfo, Embedding, EmbedResponse
from genkit_rag._rag.options import EmbedderOptions, IndexerOptions, RerankerOptions, RetrieverOptions
from genkit_rag._rag.retrieval import IndexerResponse, RetrieverResponse

__all__ = [
    "Action",
    "ActionContext",
    "ActionStream",
    "Citation",
    "Citations",
    "Document",
    "EmbedResponse",
    "EmbedderInfo",
    "EmbedderOptions",
    "Embedding",
    "ExecutablePrompt",
    "Fallback",
    "Format",
    "GenerationConfig",
    "Genkit",
    "GenkitError",
    "HelperBlock",
    "IndexerOptions",
    "IndexerResponse",
    "Interrupt",
    "Media",
    "Message",
    "Middleware",
    "MiddlewareRef",
    "MissingExtra",
    "ModelInfo",
    "ModelRequest",
    "ModelResponse",
    "ModelResponseChunk",
    "NoContext",
    "Operation",
    "Part",
    "Plugin",
    "PublicError",
    "RerankerOptions",
    "Resource",
    "Resume",
    "RetrieverOptions",
    "RetrieverResponse",
    "Retry",
    "Tool",
    "ToolOutput",
    "ToolRequest",
    "ToolResponse",
    "Usage",
    "Wanted",
    "augment_with_context",
    "current_context",
    "fallback",
    "resource_action",
    "respond_to",
    "restart",
    "retry",
]
