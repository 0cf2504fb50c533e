"""The app under observation: a real index, a flow over it, a model that plays, a tool, and things that fail.

Run by `tests/browser/conftest.py` as a process of its own, as a developer would run theirs.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from genkit_rag import ActionContext, Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_faiss import Faiss

ARTICLES = {
    "auth": "Authentication uses session tokens. A token is signed, lasts one hour and is renewed while it is used.",
    "roles": "Roles say what a signed-in user may do. An editor writes articles; an administrator also manages users.",
    "backup": "Backups are made every night and kept for thirty days. Restoring one takes a few minutes.",
    "search": "Search joins two rankings, by vectors and by words, and shows why a document was found.",
    "limits": "A request may take thirty seconds. Uploads are limited to twenty megabytes for each file.",
    "tokens": "Authentication tokens are revoked when a user changes the password or signs out everywhere.",
    "export": "Every article can be exported as Markdown or PDF, alone or with its whole section.",
    "audit": "The audit log keeps who changed what, and when. It cannot be edited and is exported as JSON Lines.",
}


class Filters(BaseModel):
    section: Literal["security", "operations", "writing"] | None = None
    years: list[int] = Field(default_factory=list, description="Only from these years")


class Question(BaseModel):
    question: str = Field("How does authentication work?", description="What you want to know")
    k: int = Field(4, ge=1, le=20, description="Documents to read")
    style: Literal["short", "long"] = "short"
    filters: Filters | None = None
    target: str | int | None = Field(None, description="A name or a number")


def answers(request: object) -> str:
    return "Authentication uses signed session tokens that last one hour. [1] They are revoked at a new password. [2]"


def section(key: str) -> str:
    return {"auth": "security", "roles": "security", "tokens": "security", "audit": "security"}.get(key, "operations")


def make(root: Path) -> Genkit:
    embedder = FakeEmbedder()
    model = ScriptedModel("play/writer", [answers] * 10_000).action
    ai = Genkit(
        plugins=[embedder, Faiss(stores=["docs"], path=root / "index", embedder=embedder.embedder)], model=model
    )

    @ai.reranker("play/overlap")
    def overlap(query: Document, documents: list[Document]) -> list[float]:
        """Orders documents by the words they share with the query."""
        words = set(re.findall(r"\w+", query.text.lower()))
        return [len(words & set(re.findall(r"\w+", one.text.lower()))) / (1 + len(words)) for one in documents]

    @ai.tool
    def today(place: str = "here") -> str:
        """Returns the date at a place."""
        return f"21 November, {place}"

    @ai.flow
    async def answer_question(question: Question, ctx: ActionContext) -> dict[str, object]:
        """Answers a question from the help articles, with sources."""
        found = await ai.retrieve(retriever="faiss/docs", query=question.question, options={"k": question.k})
        ranked = await ai.rerank(reranker="play/overlap", query=question.question, documents=found)
        stream = ai.generate_stream(prompt=question.question, docs=ranked)
        async for chunk in stream.stream:
            ctx.send_chunk(chunk.text)
        return {"answer": (await stream.response).text, "sources": [one.id for one in ranked]}

    @ai.flow
    async def count(upto: int, ctx: ActionContext) -> int:
        """Counts, slowly."""
        for number in range(upto):
            ctx.send_chunk(number)
            await asyncio.sleep(0.05)
        return upto

    @ai.flow
    async def fails(reason: str) -> str:
        """Always fails."""
        raise GenkitError("FAILED_PRECONDITION", f"It failed: {reason}.", hint="Do not call it.")

    @ai.flow
    async def echo(value: dict[str, object]) -> dict[str, object]:
        """Returns what it gets."""
        return value

    @ai.flow
    async def many_steps(steps: int) -> int:
        """Takes many small steps."""
        for number in range(steps):
            await ai.run(f"step {number}", asyncio.sleep, 0)
        return steps

    return ai


async def main(ai: Genkit) -> None:
    documents = [
        Document.from_text(text, {"title": key, "section": section(key), "year": 2020 + place % 5}, id=key)
        for place, (key, text) in enumerate(ARTICLES.items())
    ]
    await ai.index(indexer="faiss/docs", documents=documents)


if __name__ == "__main__":
    app = make(Path.cwd())
    app.run_main(main(app))
