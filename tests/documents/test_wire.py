"""The JSON of our types is Genkit's: it validates against the published schema."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jsonschema import Draft7Validator

from genkit_rag._core.schema import dump, json_schema
from genkit_rag._documents.wire import DataWireModel
from genkit_rag.plugin_api import (
    Document,
    EmbedRequest,
    EmbedResponse,
    GenerationConfig,
    Media,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ModelSupports,
    OutputConfig,
    Part,
    RerankerRequest,
    RerankerResponse,
    Resource,
    RetrieverRequest,
    RetrieverResponse,
    ToolDefinition,
    ToolRequest,
    ToolResponse,
    Usage,
    WireModel,
)

SPECS = Path(os.environ.get("GENKIT_RAG_SPECS", Path(__file__).parents[3] / "shared" / "specs"))
SCHEMA = SPECS / "genkit-schema.json"

PARTS = [
    Part(text="a", metadata={"k": 1}),
    Part(media=Media(url="https://x/y.png", content_type="image/png")),
    Part(media=Media(url="data:,x")),
    Part(tool_request=ToolRequest(name="t", input={"a": None}, ref="1")),
    Part(tool_response=ToolResponse(name="t", output=[1], ref="1")),
    Part(data={"a": 1}),
    Part(reasoning="hm"),
    Part(resource=Resource(uri="file://x")),
    Part(custom={"own": 1}),
]
MESSAGE = Message(role="model", content=PARTS, metadata={"m": True})
DOCUMENT = Document([Part(text="a"), PARTS[1]], {"n": None}, id="d", score=0.5)
REQUEST = ModelRequest(
    messages=[Message.system("s"), Message.user("u"), MESSAGE, Message(role="tool", content=[PARTS[4]])],
    config=GenerationConfig(temperature=0.1, stop_sequences=["."]),
    tools=[ToolDefinition(name="t", description="d", input_schema={"type": "object"})],
    tool_choice="auto",
    output=OutputConfig(format="json", schema={"type": "object"}, constrained=True, content_type="application/json"),
    docs=[DOCUMENT],
)
RESPONSE = ModelResponse(
    message=MESSAGE,
    finish_reason="stop",
    finish_message="m",
    latency_ms=1.5,
    usage=Usage(input_tokens=1, output_tokens=2, total_tokens=3),
    custom={},
    raw={},
    request=REQUEST,
)

VALUES: list[tuple[str, Any]] = [
    *(("Part", part) for part in PARTS),
    ("Message", MESSAGE),
    ("DocumentData", DOCUMENT),
    ("DocumentData", Document("")),
    ("ModelRequest", REQUEST),
    ("GenerateRequest", REQUEST),
    ("ModelResponse", RESPONSE),
    ("ModelResponse", ModelResponse(finish_reason="blocked")),
    ("ModelResponseChunk", ModelResponseChunk(role="model", index=0, content=[Part(text="a")], aggregated=False)),
    (
        "ModelInfo",
        ModelInfo(
            label="l",
            versions=["1"],
            stage="stable",
            supports=ModelSupports(multiturn=True, constrained="no-tools", tool_choice=True),
        ),
    ),
    ("EmbedRequest", EmbedRequest(input=[DOCUMENT])),
    ("EmbedResponse", EmbedResponse([[0.5, 1.0], [0, 1]], [0, 0], [{"page": 1}, None])),
    ("RetrieverRequest", RetrieverRequest(query=Document("q"), options={"k": 3})),
    ("RetrieverResponse", RetrieverResponse([DOCUMENT], ["a notice"])),
    ("RerankerRequest", RerankerRequest(query=Document("q"), documents=[DOCUMENT], options={"k": 3})),
    ("RerankerResponse", RerankerResponse(documents=[DOCUMENT])),
]


@pytest.fixture(scope="module")
def definitions() -> dict[str, Any]:
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not there: set GENKIT_RAG_SPECS to the folder of genkit-schema.json")
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(VALUES)])
def test_our_json_is_valid_by_genkits_schema(definitions: dict[str, Any], name: str, value: Any) -> None:
    wire = json.loads(json.dumps(dump(value)))
    validator = Draft7Validator({**definitions, "$ref": f"#/$defs/{name}"})
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(wire)] == []


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(VALUES)])
def test_what_was_sent_is_what_arrives(name: str, value: Any) -> None:
    if isinstance(value, WireModel):
        assert dump(type(value).model_validate(dump(value))) == dump(value)


class _Sample(WireModel):
    long_name: int | None = None
    other: int | None = None


def test_wire_names_are_camel_case_and_nothing_is_null() -> None:
    assert _Sample(long_name=1).to_wire() == {"longName": 1}
    assert _Sample.model_validate({"longName": 1}) == _Sample.model_validate({"long_name": 1})
    with pytest.raises(ValueError, match="longNam"):
        _Sample.model_validate({"longNam": 1})


class _Data(DataWireModel):
    nulls: ClassVar[tuple[str, ...]] = ("value",)

    value: Any = None
    long_name: int | None = None


class _Holder(WireModel):
    inner: list[_Data]


def test_a_null_that_was_given_as_data_stays_and_no_other() -> None:
    assert _Data(value=None, long_name=None).to_wire() == {"value": None}
    assert _Data().to_wire() == {}
    assert _Holder(inner=[_Data(value=None), _Data()]).to_wire() == {"inner": [{"value": None}, {}]}
    assert _Holder(inner=[_Data(value=None)]).model_dump_json(exclude_none=True) == '{"inner":[{"value":null}]}'
    assert _Data(long_name=1).model_dump() == {"value": None, "long_name": 1}


def test_the_schema_of_such_a_type_names_its_fields_in_both_directions() -> None:
    for mode in ("validation", "serialization"):
        found = json_schema(_Holder, mode=mode)
        assert found is not None
        assert found["$defs"]["_Data"]["properties"].keys() == {"value", "longName"}
