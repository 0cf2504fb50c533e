"""Runs the language-neutral cases of the reflection API against the actions behind it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Genkit
from genkit_rag.plugin_api import ActionContext, Message, ModelRequest, ModelResponse, Usage
from tests.fakes.tools_server import HttpTools, tools_for

SPECS = Path(os.environ.get("GENKIT_RAG_SPECS", Path(__file__).resolve().parents[3] / "shared" / "specs"))
SPEC = SPECS / "reflection_api.yaml"


def cases() -> list[Any]:
    if not SPEC.is_file():
        return []
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(SPEC.read_text("utf-8"))["tests"]
    return [pytest.param(case, id=f"{number}-{case['path']}") for number, case in enumerate(found)]


CASES = cases()


@pytest.mark.skipif(bool(CASES), reason="the cases were found")
def test_the_cases_are_there() -> None:
    pytest.skip(f"{SPEC} is not there: set GENKIT_RAG_SPECS to the folder of the specification files")


def app() -> Genkit:
    """Returns the app that the cases are about: a model that answers with the request that it has got."""
    ai = Genkit()

    async def reflect(request: ModelRequest, _ctx: ActionContext) -> ModelResponse:
        text = json.dumps(request.to_wire(), sort_keys=True, separators=(",", ":"))
        return ModelResponse(
            message=Message.model(text),
            finish_reason="stop",
            usage=Usage(input_characters=sum(len(m.text) for m in request.messages), output_characters=len(text)),
        )

    ai.define_model("customReflector", reflect)
    return ai


async def post(ai: Genkit, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Returns what the reflection API's server answers, without the trace."""
    async with tools_for("http", ai.registry) as tools:
        assert isinstance(tools, HttpTools)
        answer: dict[str, Any] = await tools.post(path, body)
    assert len(answer.pop("telemetry")["traceId"]) == 32
    return answer


@pytest.mark.network
@pytest.mark.parametrize("case", CASES)
async def test_reflection_spec(case: dict[str, Any]) -> None:
    async with app() as ai:
        body = await post(ai, case["path"], case["post"])
    assert json.loads(json.dumps(body)) == case["body"]
