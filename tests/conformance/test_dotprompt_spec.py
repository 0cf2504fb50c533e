"""Runs the cases of the dotprompt specification; the adapter only puts a case's parts where they belong."""

import os
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Genkit, Message
from genkit_rag._generation.prompt import load_prompt_dir
from genkit_rag._generation.prompt.front_matter import parse_source

pytest.importorskip("dotpromptz_handlebars")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
SPECS = Path(os.environ.get("GENKIT_RAG_SPECS", ROOT.parent / "shared" / "specs"))
FOLDER = SPECS / "dotprompt"

CASES = [
    pytest.param(suite, case, id=f"{path.stem}-{suite['name']}-{case['desc']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for suite in yaml.safe_load(path.read_text("utf-8"))
    for case in suite["tests"]
]


@pytest.mark.skipif(bool(CASES), reason="the cases were found")
def test_the_cases_are_there() -> None:
    pytest.skip(f"{FOLDER} is not there: set GENKIT_RAG_SPECS to the folder of the specification files")


async def rendered(suite: dict[str, Any], case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns what a case renders to, in the form of its expectation."""
    ai = Genkit()
    for name, schema in suite.get("schemas", {}).items():
        ai.define_schema(name, schema)
    for name, source in suite.get("partials", {}).items():
        ai.define_partial(name, source)
    for name, source in suite.get("resolverPartials", {}).items():  # found when they are needed: in a folder
        (folder / f"_{name}.prompt").write_text(source, "utf-8")
    load_prompt_dir(ai.registry, folder)
    data = {**suite.get("data", {}), **case.get("data", {})}
    default = case.get("options", {}).get("input", {}).get("default")
    prompt = ai.define_prompt("case", template=suite["template"], input_default=default)
    # The specification renders without looking at the input; we check it, so a wanted text is given.
    wants_text = prompt.input_schema == {"type": "string"}
    options = await prompt.options(
        data.get("input", "" if wants_text else None),
        messages=[Message.model_validate(message) for message in data.get("messages", [])],
        context=data.get("context", {}),
    )
    source = parse_source(suite["template"], "case")
    return {
        "messages": [message.to_wire() for message in options.messages],
        "config": options.config,
        "input": {"schema": prompt.input_schema} if prompt.input_schema is not None else {"default": default},
        "output": {"schema": options.output_schema},
        "raw": source.raw,
        "ext": source.ext,
    }


@pytest.mark.parametrize(("suite", "case"), CASES)
async def test_dotprompt_spec(suite: dict[str, Any], case: dict[str, Any], tmp_path: Path) -> None:
    found = await rendered(suite, case, tmp_path)
    expected = case["expect"]
    assert expected
    assert {key: found[key] for key in expected} == expected
