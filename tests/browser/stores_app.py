"""The app of the screens about stores: FAISS indexes of a few hundred chunks, a store with rules, a reranker."""

from __future__ import annotations

import re
from pathlib import Path

from genkit_rag import Document, Genkit
from genkit_rag.ingest import Splitter
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_faiss import Faiss
from genkit_rag_memory import Memory

TOPICS = {
    "garden": "soil compost tomato seedling water mulch pruning blossom harvest bees",
    "sailing": "mast anchor harbour tide rope sail compass keel storm lighthouse",
    "baking": "flour yeast oven dough butter sugar crust whisk vanilla bread",
    "astronomy": "telescope galaxy orbit comet planet eclipse nebula lens spectrum star",
}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \"'`${7*7}{{7*7}}"


def sources() -> list[Document]:
    made: list[Document] = []
    for place, (topic, line) in enumerate(TOPICS.items()):
        words = line.split()
        for number in range(5):
            sentences = [
                f"The {words[i % 10]} and the {words[(i * 3 + number) % 10]} of {topic}: note {i} says that "
                f"{words[(i + number) % 10]} needs {words[(i * 7 + 1) % 10]}."
                for i in range(60)
            ]
            paragraphs = ["\n".join(sentences[start : start + 6]) for start in range(0, 60, 6)]
            facts = {
                "source": f"{topic}-{number}.md",
                "topic": topic,
                "year": 2019 + (place + number) % 6,
                "tags": [topic, "long" if number % 2 else "short"],
            }
            made.append(Document("\n\n".join(paragraphs), facts))
    return made


def make(root: Path) -> Genkit:
    embedder = FakeEmbedder()
    model = ScriptedModel("play/writer", [lambda request: "An answer."] * 1000).action
    name = embedder.embedder
    ai = Genkit(
        plugins=[
            embedder,
            Faiss(stores=["docs", "odd"], path=root / "index", embedder=name),
            Memory(["rules"], embedder=name, required_filter=lambda ctx: {"tenant": ctx.context["tenant"]}),
        ],
        model=model,
    )

    @ai.reranker("play/overlap")
    def overlap(query: Document, documents: list[Document]) -> list[float]:
        """Orders documents by the words they share with the query."""
        words = set(re.findall(r"\w+", query.text.lower()))
        return [len(words & set(re.findall(r"\w+", one.text.lower()))) / (1 + len(one.text) / 99) for one in documents]

    @ai.retriever("play/plain")
    async def plain(query: Document) -> list[Document]:
        """Asks the index, and gives its documents in another order."""
        return list(reversed(await ai.retrieve("faiss/docs", query, {"k": 4})))

    return ai


async def main(ai: Genkit) -> None:
    splitter = Splitter(size=80, overlap=20)
    chunks = [chunk for source in sources() for chunk in splitter.split(source)]
    await ai.index("faiss/docs", chunks)
    await ai.index("faiss/docs", chunks[:3], {"namespace": "archive"})
    odd = [Document(HOSTILE, {"source": HOSTILE, HOSTILE[:40]: HOSTILE}, id=HOSTILE), Document("plain", id="plain")]
    await ai.index("faiss/odd", odd)
    for tenant in "ab":
        documents = [Document(f"secret {i} of {tenant}", {"tenant": tenant}, id=f"{tenant}{i}") for i in range(4)]
        await ai.index("memory/rules", documents, context={"tenant": tenant})
    (Path.cwd() / "ready").touch()


if __name__ == "__main__":
    app = make(Path.cwd())
    app.run_main(main(app))
