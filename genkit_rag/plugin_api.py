"""The door for plugin authors: everything a plugin may import of the framework."""

from genkit_rag._core.action import Action, ActionKind, ActionMetadata, ActionStream, adapt
from genkit_rag._core.context import ActionContext, Interrupt, current_context
from genkit_rag._core.errors import GenkitError, MissingExtra, PublicError, Status, invalid, require_extra
from genkit_rag._core.private_file import create_private
from genkit_rag._core.registry import Plugin, Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.checks import check_documents, check_names
from genkit_rag._documents.citations import Citation
from genkit_rag._documents.document import Document, to_document
from genkit_rag._documents.filters import (
    MISSING,
    And,
    Compare,
    Filter,
    Not,
    Or,
    get_field,
    matches,
    matches_value,
    parse_filter,
)
from genkit_rag._documents.part import (
    Content,
    Media,
    Message,
    Part,
    Resource,
    Role,
    ToolRequest,
    ToolResponse,
    to_parts,
)
from genkit_rag._documents.passages import cited_passages
from genkit_rag._documents.wire import DataWireModel, WireModel
from genkit_rag._generation.background import BackgroundModel, background_model
from genkit_rag._generation.formats import Format, Wanted
from genkit_rag._generation.middleware.base import (
    GenerateParams,
    Middleware,
    ModelParams,
    Next,
    ToolParams,
    attach_middleware,
)
from genkit_rag._generation.middleware.registered import define_middleware
from genkit_rag._generation.model import (
    FinishReason,
    GenerationConfig,
    ModelAction,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ModelSupports,
    OutputConfig,
    ToolChoice,
    ToolDefinition,
    Usage,
    model_action,
    model_info,
)
from genkit_rag._generation.operation import Operation, OperationError
from genkit_rag._generation.query_rewriter import QueryRewriter
from genkit_rag._generation.resource import ResourceAction, ResourceInput, ResourceOutput, resource_action
from genkit_rag._generation.text_generation import check_prompt_template, generate_text
from genkit_rag._generation.tools.function import tool_action
from genkit_rag._generation.tools.interrupts import Resume, respond_to, restart
from genkit_rag._generation.tools.tool import Tool, ToolOutput
from genkit_rag._net.rate_limits import ConcurrencyLimit, RateLimiter, TokenBucket
from genkit_rag._net.retrying import Backoff, retry_call
from genkit_rag._plugin_kit import openai_wire
from genkit_rag._plugin_kit.http_api import ApiHints, ApiKey, HttpApi
from genkit_rag._plugin_kit.http_errors import error_text
from genkit_rag._plugin_kit.http_streams import SseDecoder, split_lines
from genkit_rag._rag.embedding import (
    Batching,
    EmbedderAction,
    EmbedderInfo,
    EmbedderSupports,
    Embedding,
    EmbedRequest,
    EmbedResponse,
    embedder_action,
)
from genkit_rag._rag.embedding_service import EmbeddingService, service_of
from genkit_rag._rag.fusion import fuse
from genkit_rag._rag.mmr import mmr_by_relevance, mmr_order, mmr_select
from genkit_rag._rag.options import (
    EmbedderOptions,
    Fusion,
    IndexerOptions,
    RerankerOptions,
    RetrieverOptions,
    plugin_options,
)
from genkit_rag._rag.reranking import RerankerAction, RerankerRequest, RerankerResponse, ranked, reranker_action
from genkit_rag._rag.retrieval import (
    IndexerAction,
    IndexerRequest,
    IndexerResponse,
    RetrieverAction,
    RetrieverRequest,
    RetrieverResponse,
    indexer_action,
    retriever_action,
    simple_retriever_action,
)
from genkit_rag._rag.stop_words import STOP_WORDS
from genkit_rag._rag.stores.access import RequiredFilter, RequiredNamespace
from genkit_rag._rag.stores.actions import StorePlugin, store_actions
from genkit_rag._rag.stores.handle import DeleteRequest, DeleteResponse, StoreHandle
from genkit_rag._rag.sub_retrievers import (
    OnError,
    check_choice,
    fuse_rankings,
    must_raise,
    reject_mmr,
    run_retriever,
    run_sub_retrievers,
    sub_retriever_options,
)
from genkit_rag._rag.vector_store import (
    DEFAULT_NAMESPACE,
    Embed,
    Fingerprint,
    Hit,
    ScoreInfo,
    SearchMode,
    StoreInfo,
    Vectors,
    VectorStore,
    checked_vectors,
    fingerprint_mismatch,
)
from genkit_rag._weights import weights_path
from genkit_rag._weights.encoder import TextEncoder
from genkit_rag._weights.local_model import LocalModel

__all__ = [
    "DEFAULT_NAMESPACE",
    "MISSING",
    "STOP_WORDS",
    "Action",
    "ActionContext",
    "ActionKind",
    "ActionMetadata",
    "ActionStream",
    "And",
    "ApiHints",
    "ApiKey",
    "BackgroundModel",
    "Backoff",
    "Batching",
    "Citation",
    "Compare",
    "ConcurrencyLimit",
    "Content",
    "DataWireModel",
    "DeleteRequest",
    "DeleteResponse",
    "Document",
    "Embed",
    "EmbedRequest",
    "EmbedResponse",
    "EmbedderAction",
    "EmbedderInfo",
    "EmbedderOptions",
    "EmbedderSupports",
    "Embedding",
    "EmbeddingService",
    "Filter",
    "Fingerprint",
    "FinishReason",
    "Format",
    "Fusion",
    "GenerateParams",
    "GenerationConfig",
    "GenkitError",
    "Hit",
    "HttpApi",
    "IndexerAction",
    "IndexerOptions",
    "IndexerRequest",
    "IndexerResponse",
    "Interrupt",
    "LocalModel",
    "Media",
    "Message",
    "Middleware",
    "MissingExtra",
    "ModelAction",
    "ModelInfo",
    "ModelParams",
    "ModelRequest",
    "ModelResponse",
    "ModelResponseChunk",
    "ModelSupports",
    "Next",
    "Not",
    "OnError",
    "Operation",
    "OperationError",
    "Or",
    "OutputConfig",
    "Part",
    "Plugin",
    "PublicError",
    "QueryRewriter",
    "RateLimiter",
    "Registry",
    "RequiredFilter",
    "RequiredNamespace",
    "RerankerAction",
    "RerankerOptions",
    "RerankerRequest",
    "RerankerResponse",
    "Resource",
    "ResourceAction",
    "ResourceInput",
    "ResourceOutput",
    "Resume",
    "RetrieverAction",
    "RetrieverOptions",
    "RetrieverRequest",
    "RetrieverResponse",
    "Role",
    "ScoreInfo",
    "SearchMode",
    "SseDecoder",
    "Status",
    "StoreHandle",
    "StoreInfo",
    "StorePlugin",
    "TextEncoder",
    "TokenBucket",
    "Tool",
    "ToolChoice",
    "ToolDefinition",
    "ToolOutput",
    "ToolParams",
    "ToolRequest",
    "ToolResponse",
    "Usage",
    "VectorStore",
    "Vectors",
    "Wanted",
    "WireModel",
    "adapt",
    "attach_middleware",
    "background_model",
    "check_choice",
    "check_documents",
    "check_names",
    "check_prompt_template",
    "checked_vectors",
    "cited_passages",
    "create_private",
    "current_context",
    "define_middleware",
    "embedder_action",
    "error_text",
    "fingerprint_mismatch",
    "fuse",
    "fuse_rankings",
    "generate_text",
    "get_field",
    "indexer_action",
    "invalid",
    "matches",
    "matches_value",
    "mmr_by_relevance",
    "mmr_order",
    "mmr_select",
    "model_action",
    "model_info",
    "must_raise",
    "openai_wire",
    "parse_filter",
    "plugin_options",
    "ranked",
    "reject_mmr",
    "require_extra",
    "reranker_action",
    "resource_action",
    "respond_to",
    "restart",
    "retriever_action",
    "retry_call",
    "run_in_thread",
    "run_retriever",
    "run_sub_retrievers",
    "service_of",
    "simple_retriever_action",
    "split_lines",
    "store_actions",
    "sub_retriever_options",
    "to_document",
    "to_parts",
    "tool_action",
    "weights_path",
]
