"""genkit_rag in a harness that measures several libraries on one workload: run by `benchmarks.peers`.

The harness (`common.py`: `Peer`, `main`, a zero-cost embedder) is found by `PYTHONPATH`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import faiss
from common import DIM, FILTER_CAT, Peer, build_faiss, main  # type: ignore[import-not-found]

from genkit_rag import Document, Genkit
from genkit_rag.plugin_api import Action, EmbedderInfo, Plugin, embedder_action, run_in_thread
from genkit_rag_faiss import Faiss

faiss.omp_set_num_threads(1)


class HarnessEmbedder(Plugin):
    """The harness's embedder. One that blocks runs in a thread, as every sync embedder does."""

    name = "bench"

    def __init__(self, given: Any) -> None:
        self.given = given

    async def init(self) -> list[Action[Any, Any, Any]]:
        async def embed(documents: list[Document]) -> Any:
            texts = [document.text for document in documents]
            return await run_in_thread(self.given.many, texts) if self.given.block_s else self.given.many(texts)

        return [embedder_action("bench/fake", embed, info=EmbedderInfo(dimensions=DIM))]


class GenkitRag(Peer):  # type: ignore[misc]
    name, version = "genkit_rag", version("genkit-rag")
    imports = {  # noqa: RUF012 - as the harness has it
        "genkit_rag": "from genkit_rag import Genkit",
        "RAG faiss": "from genkit_rag import Genkit; import genkit_rag_faiss",
        "full RAG+agent": "from genkit_rag import Genkit; import genkit_rag_faiss",
    }

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.asked = 0
        self.moved: dict[Genkit, str] = {}

    def run(self, awaitable: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(awaitable)

    def genkit(self, path: str) -> Genkit:
        return Genkit(plugins=[HarnessEmbedder(self.emb), Faiss(["docs"], path=path, embedder="bench/fake")])

    # -- a: a durable store on disk, where the others keep theirs in memory

    def faiss_new(self) -> Genkit:
        self.path = tempfile.mkdtemp(prefix="genkit_rag_peer_")
        return self.genkit(self.path)

    def faiss_add(self, ai: Genkit, ids: list[str], texts: list[str], metas: list[Any]) -> None:
        documents = [Document(t, m, id=i) for i, t, m in zip(ids, texts, metas, strict=True)]
        self.run(ai.index("faiss/docs", documents))

    # -- b: every query is a new one, so that each is embedded: the framework remembers the vectors of queries

    def new(self, query: str) -> str:
        self.asked += 1
        return f"{query} {self.asked}"

    def variants(self, ai: Genkit) -> dict[str, Callable[[str], Any]]:
        self.restore(ai)
        return {"default": lambda query: self.run(ai.retrieve("faiss/docs", self.new(query), {"k": 10}))}

    def avariants(self, ai: Genkit) -> dict[str, Callable[[str], Awaitable[Any]]]:
        async def retrieve(query: str) -> Any:
            return await ai.retrieve("faiss/docs", self.new(query), {"k": 10})

        return {"default": retrieve}

    def filtered(self, ai: Genkit) -> dict[str, Callable[[str], Any]]:
        options = {"k": 10, "filter": {"cat": FILTER_CAT}}
        return {"default": lambda query: self.run(ai.retrieve("faiss/docs", self.new(query), options))}

    def ids_of(self, found: Any) -> list[str]:
        return [document.id for document in found]

    def meta_ok(self, found: Any) -> dict[str, bool]:
        first = found[0]
        return {"score": first.score is not None, "meta": len(first.metadata) == 3, "id": bool(first.id)}

    # -- c

    def hybrid(self) -> Callable[[str], Any]:
        ai = build_faiss(self, self.w)
        self.run(ai.retrieve("faiss/docs", "q000000 warm", {"mode": "text"}))
        return lambda query: self.run(ai.retrieve("faiss/docs", self.new(query), {"k": 10, "mode": "hybrid"}))

    # -- d

    async def gen_setup(self) -> None:
        from genkit_rag.plugin_api import Message, ModelResponse, ModelResponseChunk, Part, ToolRequest

        ai = self.ai = Genkit()
        names: dict[str, list[str]] = {"plain": [], "tool": ["add"], "async": [], "sync": []}

        def answer(kind: str) -> Callable[..., Awaitable[Any]]:
            async def model(request: Any, ctx: Any) -> Any:
                asked = names[kind] if request.messages[-1].role == "user" else []
                parts = [
                    Part(tool_request=ToolRequest(name=n, input={"x": i}, ref=f"c{i}")) for i, n in enumerate(asked)
                ]
                return ModelResponse(message=Message(role="model", content=parts or [Part(text="final answer")]))

            return model

        for kind in names:
            ai.define_model(kind, answer(kind))

        async def stream(request: Any, ctx: Any) -> Any:
            for i in range(2000):
                ctx.send_chunk(ModelResponseChunk(content=[Part(text=f"tok{i} ")]))
                if i % 64 == 0:
                    await asyncio.sleep(0)
            return ModelResponse(message=Message(role="model", content=[Part(text="done")]))

        ai.define_model("stream", stream)

        async def add(x: int) -> int:
            """Adds."""
            return x + 1

        ai.define_tool(add)
        for i in range(8):
            for kind, tool in (("async", _slow_async), ("sync", _slow_sync)):
                names[kind].append(ai.define_tool(tool, name=f"{kind}{i}").name)
        self.tools = names

    async def gen_plain(self) -> str:
        return str((await self.ai.generate("hi", model="plain")).text)

    async def gen_tool(self) -> str:
        return str((await self.ai.generate("hi", model="tool", tools=["add"])).text)

    async def gen_par(self, sync: bool) -> str:
        kind = "sync" if sync else "async"
        return str((await self.ai.generate("hi", model=kind, tools=self.tools[kind])).text)

    async def gen_stream(self) -> AsyncIterator[Any]:
        async for chunk in self.ai.generate_stream("hi", model="stream").stream:
            yield chunk

    # -- e

    def trace_on(self) -> Callable[[], int]:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        return lambda: len(exporter.get_finished_spans())

    trace_note = "native"

    # -- g

    def splitters(self) -> dict[str, Callable[[str], list[str]]]:
        from genkit_rag.ingest import split_text

        return {"split_text": lambda text: [chunk.text for chunk in split_text(text, 1000, 200)]}

    # -- h: what a write has acknowledged is on disk already; saving is closing, which writes the segments

    def save(self, ai: Genkit, path: str) -> None:
        self.run(ai.close())
        shutil.move(self.path, path)
        self.moved[ai] = path

    def restore(self, ai: Genkit) -> None:
        """Gives a store that was saved elsewhere its files back: the harness goes on with both."""
        if ai in self.moved:
            shutil.copytree(self.moved.pop(ai), self.path)

    def load(self, path: str) -> Genkit:
        ai = self.genkit(path)
        self.run(ai.store("faiss/docs"))
        return ai

    def delete(self, ai: Genkit, ids: list[str]) -> None:
        self.run(ai.delete("faiss/docs", ids=ids))

    def upsert(self, ai: Genkit, i: int, text: str, meta: Any) -> None:
        self.restore(ai)
        self.run(ai.index("faiss/docs", [Document(text, meta, id=f"d{i:06d}")]))

    def count(self, ai: Genkit) -> int:
        async def count() -> int:
            return await (await ai.store("faiss/docs")).count()

        self.restore(ai)
        return int(self.run(count()))


async def _slow_async(x: int) -> int:
    """Waits."""
    await asyncio.sleep(0.05)
    return x


def _slow_sync(x: int) -> int:
    """Blocks."""
    import time

    time.sleep(0.05)
    return x


if __name__ == "__main__":
    main(GenkitRag())
