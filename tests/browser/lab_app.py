"""An app to evaluate and to write prompts for: two flows of which one is worse, evaluators, a retriever, prompts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from genkit_rag import ActionContext, Document, Genkit
from genkit_rag._ai.evaluation import add_built_in_evaluators
from genkit_rag._evaluation.action import evaluator_action
from genkit_rag._evaluation.types import EvalDataPoint, Score, verdict
from genkit_rag._generation.model import ModelRequest
from genkit_rag._generation.prompt.actions import prompt_source_actions
from genkit_rag.testing import ScriptedModel

CAPITALS = {
    "France": "Paris",
    "Spain": "Madrid",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Egypt": "Cairo",
    "Chile": "Santiago",
    "Cuba": "Havana",
    "Greece": "Athens",
    "Poland": "Warsaw",
}
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}'

REVIEW = """---
model: play/echo
input:
  schema:
    article: string, the text to review
    tone?(enum, how to speak): [kind, strict]
  default:
    tone: kind
config:
  temperature: 0.2
---
{{role "system"}}
You are a {{tone}} reviewer.
{{role "user"}}
Review this article: {{article}}
"""


def told(request: ModelRequest) -> str:
    return "I was told: " + request.messages[-1].text


def words(point: EvalDataPoint, options: Any = None) -> Score:
    """How many words the output has, up to ten, as a share."""
    return Score(score=min(10, len(str(point.output).split())) / 10)


def says_reference(point: EvalDataPoint) -> Score:
    """Whether the output holds the reference."""
    if point.input == HOSTILE:
        return verdict(False, f"the reason is {HOSTILE}")
    return verdict(str(point.reference) in str(point.output), f"looked for {point.reference} in {point.output}")


def moody(point: EvalDataPoint) -> Score:
    """Fails on Peru."""
    if point.input == "Peru":
        raise ValueError("no opinion about Peru")
    return verdict(True)


def make(root: Path) -> Genkit:
    model = ScriptedModel("play/echo", [told] * 10_000).action
    ai = Genkit(model=model, prompt_dir=root / "prompts")
    add_built_in_evaluators(ai.registry)

    @ai.retriever("atlas")
    def atlas(query: Document) -> list[Document]:
        found = [land for land in CAPITALS if land in query.text]
        return [Document.from_text(f"The capital of {land} is {CAPITALS[land]}.", id=land) for land in found]

    @ai.flow
    async def capital(country: str) -> str:
        """Names a capital, after looking it up."""
        found = await ai.retrieve(retriever="atlas", query=country)
        return found[0].text if found else "I do not know."

    @ai.flow
    async def hasty(country: str) -> str:
        """Names a capital without looking."""
        if country == "Japan":
            raise ValueError("too hasty for Japan")
        return f"The capital of {country} is {CAPITALS[country] if len(country) > 5 else 'Springfield'}."

    @ai.flow
    async def slow(country: str, ctx: ActionContext) -> str:
        """Takes its time."""
        await asyncio.sleep(0.3)
        return country

    for fn in (words, says_reference, moody):
        ai.registry.register(evaluator_action(f"lab/{fn.__name__}", fn, is_billed=fn is moody))
    for action in prompt_source_actions(ai.registry):
        if ai.registry.lookup(action.kind, action.name) is None:
            ai.registry.register(action)
    file = {"prompt": {"file": {"folder": str(root / "prompts"), "path": "review.prompt"}}}
    ai.define_prompt("review", template=REVIEW, description="Reviews an article.", metadata=file)
    ai.define_prompt(
        "review",
        "Review briefly: {{article}}",
        variant="brief",
        input_schema={"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
    )
    ai.define_prompt(
        "mail/greeting",
        "Hello {{name}}!",
        system="You write letters. " + HOSTILE.replace("{{7*7}}", ""),
        input_default={"name": "Ada"},
    )
    return ai


async def main() -> None:
    """Nothing: the app waits to be used."""


if __name__ == "__main__":
    app = make(Path.cwd())
    app.run_main(main())
