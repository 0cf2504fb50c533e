"""Runs the language-neutral cases of the generate loop; the adapter only normalises what they leave open."""

import os
from pathlib import Path
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._generation.generate import generate_action
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk, model_action
from genkit_rag._generation.tools.function import tool_action

ROOT = Path(__file__).resolve().parents[2]
SPECS = Path(os.environ.get("GENKIT_RAG_SPECS", ROOT.parent / "shared" / "specs"))
SPEC = SPECS / "generate.yaml"


def cases() -> list[Any]:
    if not SPEC.is_file():
        return []
    yaml = pytest.importorskip("yaml")
    return [pytest.param(case, id=case["name"]) for case in yaml.safe_load(SPEC.read_text("utf-8"))["tests"]]


CASES = cases()


@pytest.mark.skipif(bool(CASES), reason="the cases were found")
def test_the_cases_are_there() -> None:
    pytest.skip(f"{SPEC} is not there: set GENKIT_RAG_SPECS to the folder of the specification files")


def registry_for(case: dict[str, Any]) -> Registry:
    answers = iter(case["modelResponses"])
    chunks = iter(case.get("streamChunks", []))

    async def play(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        for chunk in next(chunks, []):
            ctx.send_chunk(ModelResponseChunk.model_validate(chunk))
        return ModelResponse.model_validate(next(answers))

    registry = Registry()
    registry.register(model_action("programmableModel", play))
    registry.register(
        tool_action(lambda _input: "tool called", name="testTool", description="description", input_type={})
    )
    return registry


def normalised(response: dict[str, Any]) -> dict[str, Any]:
    """Absent and empty are one; a time and counts that the model did not give are ours to add."""
    usage = {key: n for key, n in response.get("usage", {}).items() if not key.endswith("Characters")}
    request = dict(response["request"])
    tools = [{key: value for key, value in tool.items() if key != "key"} for tool in request.get("tools", [])]
    for tool in tools:
        for schema in ("inputSchema", "outputSchema"):
            if not {key for key in tool.get(schema, {}) if key != "$schema"}:
                tool.pop(schema, None)
    request |= {"tools": tools, "output": request.get("output", {})}
    found = {**response, "custom": response.get("custom", {}), "usage": usage, "request": request}
    found.pop("latencyMs", None)
    return found


@pytest.mark.parametrize("case", CASES)
async def test_generate_spec(case: dict[str, Any]) -> None:
    action = generate_action(registry_for(case))
    chunks: list[Any] = []
    response = await action.run_json(case["input"], on_chunk=chunks.append if case.get("stream") else None)
    assert normalised(response) == normalised(case["expectResponse"])
    assert chunks == case.get("expectChunks", [])
