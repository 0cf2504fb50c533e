"""Every wire type of ours is Genkit's: what we send validates, and what the schema allows comes back as it was.

JSON is compared as JSON: objects have no order, and numbers are those of JavaScript (1 and 1.0 are one number).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from genkit_rag._core.schema import dump, parse
from genkit_rag._documents.part import Role
from genkit_rag._evaluation.types import (
    EvalDataPoint,
    EvalFnResponse,
    EvalRequest,
    EvalStatus,
    Score,
)
from genkit_rag._generation.generate.actions import GenerateActionOptions, GenerateActionOutput
from genkit_rag._generation.middleware.base import Middleware, MiddlewareRef
from genkit_rag._generation.middleware.registered import define_middleware
from genkit_rag._generation.model import FinishReason
from genkit_rag._generation.operation import Operation
from genkit_rag._generation.tools.tool import ToolOutput
from genkit_rag.plugin_api import (
    Document,
    Embedding,
    EmbedRequest,
    EmbedResponse,
    GenerationConfig,
    GenkitError,
    Media,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    OutputConfig,
    Part,
    Registry,
    RerankerRequest,
    RerankerResponse,
    RetrieverRequest,
    RetrieverResponse,
    ToolDefinition,
    ToolRequest,
    ToolResponse,
    Usage,
)
from tests.conformance.wire_strategies import ANY_JSON, OBJECTS, Schemas, instances

SPECS = Path(os.environ.get("GENKIT_RAG_SPECS", Path(__file__).resolve().parents[3] / "shared" / "specs"))
FILE = SPECS / "genkit-schema.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {"$defs": {}}
NEEDS_FILE = pytest.mark.skipif(
    not FILE.is_file(), reason=f"{FILE} is not there: set GENKIT_RAG_SPECS to the folder of the specification files"
)

TYPES: dict[str, Any] = {
    "BaseDataPoint": EvalDataPoint,
    "BaseEvalDataPoint": EvalDataPoint,
    "EvalFnResponse": EvalFnResponse,
    "EvalRequest": EvalRequest,
    "EvalResponse": list[EvalFnResponse],
    "EvalStatusEnum": EvalStatus,
    "Score": Score,
    "CustomPart": Part,
    "DataPart": Part,
    "DocumentData": Document,
    "DocumentPart": Part,
    "EmbedRequest": EmbedRequest,
    "EmbedResponse": EmbedResponse,
    "Embedding": Embedding,
    "FinishReason": FinishReason,
    "GenerateActionOptions": GenerateActionOptions,
    "GenerateActionOutputConfig": GenerateActionOutput,
    "GenerateRequest": ModelRequest,
    "GenerateResponse": ModelResponse,
    "GenerateResponseChunk": ModelResponseChunk,
    "GenerationCommonConfig": GenerationConfig,
    "GenerationUsage": Usage,
    "Media": Media,
    "MediaPart": Part,
    "Message": Message,
    "MiddlewareRef": MiddlewareRef,
    "ModelInfo": ModelInfo,
    "ModelRequest": ModelRequest,
    "ModelResponse": ModelResponse,
    "ModelResponseChunk": ModelResponseChunk,
    "MultipartToolResponse": ToolOutput,
    "Operation": Operation,
    "OutputConfig": OutputConfig,
    "Part": Part,
    "RankedDocumentData": Document,
    "ReasoningPart": Part,
    "RerankerRequest": RerankerRequest,
    "RerankerResponse": RerankerResponse,
    "ResourcePart": Part,
    "RetrieverRequest": RetrieverRequest,
    "RetrieverResponse": RetrieverResponse,
    "Role": Role,
    "TextPart": Part,
    "ToolDefinition": ToolDefinition,
    "ToolRequest": ToolRequest,
    "ToolRequestPart": Part,
    "ToolResponse": ToolResponse,
    "ToolResponsePart": Part,
}
"""Genkit's definition -> our type."""

AGENTS = "comes with agents"
REFLECTION = "comes with the reflection server"
TRACES = "comes with the telemetry store"
CANDIDATES = "several answers of one call, which Genkit has given up: our model actions give one"
ABSENT = {
    **dict.fromkeys(
        (
            "AgentAbortRequest",
            "AgentAbortResponse",
            "AgentFinishReason",
            "AgentInit",
            "AgentInput",
            "AgentMetadata",
            "AgentOutput",
            "AgentResult",
            "AgentStateManagement",
            "AgentStreamChunk",
            "Artifact",
            "GetSnapshotRequest",
            "JsonPatch",
            "JsonPatchOp",
            "JsonPatchOperation",
            "RuntimeError",
            "SessionSnapshot",
            "SessionState",
            "SnapshotStatus",
            "TurnEnd",
        ),
        AGENTS,
    ),
    **dict.fromkeys(
        (
            "ActionMetadata",
            "GenkitError",
            "ReflectionCancelActionParams",
            "ReflectionCancelActionResponse",
            "ReflectionConfigureParams",
            "ReflectionEndInputStreamParams",
            "ReflectionListActionsResponse",
            "ReflectionListValuesParams",
            "ReflectionListValuesResponse",
            "ReflectionRegisterParams",
            "ReflectionRunActionParams",
            "ReflectionRunActionStateParams",
            "ReflectionSendInputStreamChunkParams",
            "ReflectionStreamChunkParams",
        ),
        REFLECTION,
    ),
    **dict.fromkeys(
        (
            "InstrumentationLibrary",
            "Link",
            "PathMetadata",
            "SpanContext",
            "SpanData",
            "SpanEndEvent",
            "SpanMetadata",
            "SpanStartEvent",
            "SpanStatus",
            "SpantEventBase",
            "TimeEvent",
            "TraceData",
            "TraceEvent",
            "TraceMetadata",
        ),
        TRACES,
    ),
    **dict.fromkeys(("Candidate", "CandidateError"), CANDIDATES),
    "MiddlewareDesc": "only sent, by `MiddlewareDefinition`; see test_what_is_said_of_a_middleware_is_valid",
    "ModelReference": "a model is named by its name, its config stands in the request's",
    "CommonRerankerOptions": "`RerankerOptions` take `k` and more; see test_the_common_options_are_understood",
    "CommonRetrieverOptions": "`RetrieverOptions` take `k` and more; see test_the_common_options_are_understood",
    "RankedDocumentMetadata": "stands in the documents of RankedDocumentData",
}
"""Genkit's definition -> why there is no type of ours for it."""

SETTING = ANY_JSON.filter(lambda value: value is not None)
FACTS = st.builds(
    lambda more, own: {**more, **own, "n": 1},
    OBJECTS,
    st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "score", "rank", "retriever", "scores"), ANY_JSON)),
)
VECTORS = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), min_size=1, max_size=3)
NARROWER: dict[str, st.SearchStrategy[Any] | None] = {
    "EvalRequest.options": SETTING,
    # Null settings are absent settings; test_null_settings_are_absent_settings.
    **dict.fromkeys(
        (
            "GenerateRequest.config",
            "ModelRequest.config",
            "GenerateActionOptions.config",
            "MiddlewareRef.config",
            "RetrieverRequest.options",
            "RerankerRequest.options",
            "GenerateActionOutputConfig.jsonSchema",
        ),
        SETTING,
    ),
    "ToolDefinition.inputSchema": OBJECTS,
    "ToolDefinition.outputSchema": OBJECTS,
    # An empty metadata object of a document is none, and an id or a score is a field of ours.
    "DocumentData.metadata": FACTS,
    "RankedDocumentData.metadata": FACTS.flatmap(
        lambda facts: st.floats(allow_nan=False, allow_infinity=False).map(lambda score: {**facts, "score": score})
    ),
    # What a model, a loop and an embedder can work with is checked at the door.
    "GenerateActionOptions.maxTurns": st.integers(0, 100),
    "EmbedRequest.options": st.fixed_dictionaries(
        {"task": st.sampled_from(["query", "document"])}, optional={"dimensions": st.integers(1, 4096)}
    ),
    "GenerationCommonConfig.maxOutputTokens": st.integers(1, 10**6),
    "GenerationCommonConfig.topK": st.integers(1, 100),
    "EmbedResponse.embeddings": VECTORS.map(lambda rows: [{"embedding": row} for row in rows]),
    "GenerateRequest.candidates": None,
    "GenerateResponse.candidates": None,
}
"""Where we take less than the schema allows: what is generated there, and None for what is not generated at all."""

WRITTEN_OUT = {"EmbedRequest": {"options": {"task": "document"}}}
"""What we write where it was left out."""

SCHEMAS = Schemas(SCHEMA, NARROWER)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def problems(name: str, value: Any) -> list[str]:
    wire = json.loads(json.dumps(value, allow_nan=False))
    validator = Draft7Validator({**SCHEMA, "$ref": f"#/$defs/{name}"})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(wire)]


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return float(one) == float(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@NEEDS_FILE
def test_no_definition_is_forgotten() -> None:
    assert TYPES.keys() | ABSENT.keys() == SCHEMA["$defs"].keys()
    assert not TYPES.keys() & ABSENT.keys()


@NEEDS_FILE
@pytest.mark.parametrize("name", TYPES)
@FEW
@given(data=st.data())
def test_what_the_schema_allows_comes_back_as_it_was(name: str, data: st.DataObject) -> None:
    raw = data.draw(SCHEMAS.definition(name))
    if name in WRITTEN_OUT:
        raw = {**WRITTEN_OUT[name], **raw}
    assert problems(name, raw) == []
    kept = json.loads(json.dumps(dump(parse(TYPES[name], raw, name))))
    assert same(kept, raw), f"{kept} is not {raw}"
    assert problems(name, kept) == []


def _scored(document: Document) -> Document:
    return document if document.score is not None else document.copy(score=0.5)


OURS: dict[str, st.SearchStrategy[Any]] = {
    "BaseDataPoint": instances(EvalDataPoint),
    "EvalFnResponse": instances(EvalFnResponse),
    "EvalRequest": instances(EvalRequest),
    "Score": instances(Score),
    "DocumentData": instances(Document),
    "RankedDocumentData": instances(Document).map(_scored),
    "EmbedResponse": VECTORS.map(EmbedResponse),
    "RetrieverResponse": st.lists(instances(Document), max_size=3).map(RetrieverResponse),
    "RerankerResponse": st.lists(instances(Document).map(_scored), max_size=3).map(
        lambda documents: RerankerResponse(documents=documents)
    ),
    "GenerationCommonConfig": instances(GenerationConfig),
    "ModelResponse": instances(ModelResponse).map(
        lambda response: response.model_copy(update={"finish_reason": response.finish_reason or "unknown"})
    ),
    "Part": instances(Part),
    **{
        name: instances(TYPES[name])
        for name in (
            "EmbedRequest",
            "Embedding",
            "GenerateActionOptions",
            "GenerateActionOutputConfig",
            "GenerateRequest",
            "GenerateResponse",
            "GenerateResponseChunk",
            "GenerationUsage",
            "Media",
            "Message",
            "ModelInfo",
            "ModelRequest",
            "ModelResponseChunk",
            "MultipartToolResponse",
            "Operation",
            "OutputConfig",
            "RerankerRequest",
            "RetrieverRequest",
            "ToolDefinition",
            "ToolRequest",
            "ToolResponse",
        )
    },
}


@NEEDS_FILE
@pytest.mark.parametrize("name", OURS)
@FEW
@given(data=st.data())
def test_what_we_send_is_valid(name: str, data: st.DataObject) -> None:
    value = data.draw(OURS[name])
    wire = dump(value)
    assert problems(name, wire) == []
    assert same(dump(parse(TYPES[name], wire, name)), wire)


class _Tag(Middleware):
    """Adds a tag."""

    def __init__(self, tag: str = "a", *, times: int = 1) -> None:
        self.tag, self.times = tag, times


@NEEDS_FILE
@pytest.mark.parametrize("metadata", [None, {}, {"own": None}])
@pytest.mark.parametrize("middleware", [_Tag, _Tag()])
def test_what_is_said_of_a_middleware_is_valid(middleware: Any, metadata: Any) -> None:
    wire = define_middleware(Registry(), middleware, name="tag", metadata=metadata).to_wire()
    assert problems("MiddlewareDesc", wire) == []
    assert wire["name"] == "tag"


@NEEDS_FILE
@pytest.mark.parametrize("name", ["Role", "FinishReason"])
def test_our_names_are_those_of_the_schema(name: str) -> None:
    assert list(TYPES[name].__args__) == SCHEMA["$defs"][name]["enum"]


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_explicit_empty_value_stays_and_an_absent_one_stays_away(value: Any) -> None:
    whole: list[tuple[Any, dict[str, Any]]] = [
        (Part, {"data": value}),
        (ToolRequest, {"name": "t", "input": value}),
        (ToolResponse, {"name": "t", "output": value}),
        (Operation, {"id": "o", "output": value}),
        (ModelResponse, {"custom": value, "raw": value}),
        (ModelResponseChunk, {"content": [{"data": value}], "custom": value}),
        (GenerationConfig, {"own": value}),
        (Message, {"role": "model", "content": [{"toolResponse": {"name": "t", "output": value}}]}),
    ]
    for kind, raw in whole:
        assert dump(parse(kind, raw, "it")) == raw
        assert json.loads(parse(kind, raw, "it").model_dump_json(by_alias=True, exclude_none=True)) == raw
    assert dump(Part(text="a", metadata=None)) == {"text": "a"}
    assert dump(ToolRequest(name="t")) == {"name": "t"}
    assert dump(Operation(id="o")) == {"id": "o"}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (ModelRequest, {"messages": [], "config": None}),
        (GenerateActionOptions, {"messages": [], "config": None}),
        (RetrieverRequest, {"query": {"content": []}, "options": None}),
        (RerankerRequest, {"query": {"content": []}, "documents": [], "options": None}),
        (ToolDefinition, {"name": "t", "description": "", "inputSchema": None, "outputSchema": None}),
    ],
)
def test_null_settings_are_absent_settings(kind: Any, raw: dict[str, Any]) -> None:
    assert dump(parse(kind, raw, "it")) == {key: value for key, value in raw.items() if value is not None}


@pytest.mark.parametrize("score", [10**400, -(10**400), True, "1", None])
def test_what_is_no_score_of_ours_stays_in_a_documents_metadata(score: Any) -> None:
    raw = {"content": [], "metadata": {"score": score}}
    document = parse(Document, raw, "it")
    assert document.score is None
    assert dump(document) == raw


def test_a_document_without_facts_has_no_metadata() -> None:
    assert dump(parse(Document, {"content": [], "metadata": {}}, "it")) == {"content": []}


@pytest.mark.parametrize(
    "raw",
    [
        {"text": "a", "media": {"url": "data:,x"}},
        {"text": "a", "reasoning": "b"},
        {"toolRequest": {"name": "t"}, "toolResponse": {"name": "t"}},
        {"resource": {"uri": "a:b"}, "text": ""},
        {"text": "a", "unknown": 1},
    ],
)
def test_what_the_schema_refuses_in_a_part_is_an_invalid_argument(raw: dict[str, Any]) -> None:
    if FILE.is_file():
        assert problems("Part", raw)
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        parse(Part, raw, "The part")


@pytest.mark.parametrize(
    ("kind", "raw"),
    [(ModelRequest, {"messages": [], "candidates": 2}), (ModelResponse, {"candidates": []})],
)
def test_several_answers_of_one_call_are_refused_and_not_dropped(kind: Any, raw: dict[str, Any]) -> None:
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*\$\.candidates"):
        parse(kind, raw, "it")


@pytest.mark.parametrize("name", ["CommonRetrieverOptions", "CommonRerankerOptions"])
def test_the_common_options_are_understood(name: str) -> None:
    from genkit_rag.plugin_api import RerankerOptions, RetrieverOptions

    kind: Any = {"CommonRetrieverOptions": RetrieverOptions, "CommonRerankerOptions": RerankerOptions}[name]
    assert parse(kind, {"k": 3}, "it").k == 3
    if FILE.is_file():
        assert SCHEMA["$defs"][name]["properties"].keys() <= set(kind.model_fields)
