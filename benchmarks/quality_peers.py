"""The hybrid search of another library over the same texts and vectors: run by `benchmarks.quality` inside its venv.

`python quality_peers.py LIBRARY FOLDER OUT`. FOLDER holds `texts.json` (`units`, `queries`: lists of `[id, text]`,
`deep`: how many each leg gives in the deep variants) and `vectors.npz` (`units`, `queries`: rows of length 1). OUT
becomes JSON: for each variant `[query id, [unit ids], seconds]`. Embedding is a look-up, so the seconds are without it.
"""

# Annotations are real here: Haystack reads those of its components.
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[str], Mapping[str, Sequence[str]]]
"""From a query to the ids of the units, best first, by variant. Variants of one search share its legs and its time."""


class Given:
    """The texts and their vectors."""

    def __init__(self, folder: Path) -> None:
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        self.units: list[tuple[str, str]] = [(id_, text) for id_, text in texts["units"]]
        self.queries: list[tuple[str, str]] = [(id_, text) for id_, text in texts["queries"]]
        self.deep: int = texts["deep"]
        with np.load(folder / "vectors.npz") as vectors:
            self.vectors = vectors["units"]
            self._rows = dict(zip((text for _, text in self.units), self.vectors, strict=True))
            self._rows |= dict(zip((text for _, text in self.queries), vectors["queries"], strict=True))

    def embed(self, text: str) -> Any:
        return self._rows[text]


def langchain(given: Given) -> Iterator[Search]:
    """`EnsembleRetriever` over `BM25Retriever` and `FAISS`: reciprocal ranks, weights a half, 4 of each leg."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import Embeddings

    class LookUp(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [given.embed(text).tolist() for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return list(given.embed(text).tolist())

    ids = [{"id": id_} for id_, _ in given.units]
    texts = [text for _, text in given.units]
    store = FAISS.from_texts(texts, LookUp(), metadatas=ids)
    for name, k in (("default", None), ("deep", given.deep)):
        words = BM25Retriever.from_texts(texts, metadatas=ids, **({} if k is None else {"k": k}))
        vectors = store.as_retriever(**({} if k is None else {"search_kwargs": {"k": k}}))
        both = EnsembleRetriever(retrievers=[words, vectors], weights=[0.5, 0.5], id_key="id")
        label = f"EnsembleRetriever, {name}"
        yield lambda query, both=both, label=label: {label: [found.metadata["id"] for found in both.invoke(query)]}


def llamaindex(given: Given) -> Iterator[Search]:
    """`QueryFusionRetriever` over `BM25Retriever` and a vector index, 2 of each leg; deep, in each fusion mode."""
    import faiss
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.schema import TextNode
    from llama_index.retrievers.bm25 import BM25Retriever
    from llama_index.vector_stores.faiss import FaissVectorStore

    class LookUp(BaseEmbedding):  # type: ignore[misc]
        def _get_query_embedding(self, query: str) -> list[float]:
            return list(given.embed(query).tolist())

        def _get_text_embedding(self, text: str) -> list[float]:
            return list(given.embed(text).tolist())

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    nodes = [
        TextNode(id_=id_, text=text, embedding=row.tolist())
        for (id_, text), row in zip(given.units, given.vectors, strict=True)
    ]
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(given.vectors.shape[1]))
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes=nodes, storage_context=context, embed_model=LookUp())
    for name, k in (("default", None), ("deep", given.deep)):
        many = {} if k is None else {"similarity_top_k": k}
        legs = [index.as_retriever(**many), BM25Retriever.from_defaults(nodes=nodes, **many)]
        for mode in ("reciprocal_rerank", "relative_score", "dist_based_score")[: None if k else 1]:
            fused = QueryFusionRetriever(legs, num_queries=1, mode=mode, use_async=False, llm=MockLLM(), **many)
            label = f"{mode}, {name}"
            yield lambda query, fused=fused, label=label: {label: [n.node.node_id for n in fused.retrieve(query)]}


def haystack(given: Given) -> Iterator[Search]:
    """`DocumentJoiner` over the in-memory BM25 and embedding retrievers, in both fusion modes; 10 of each leg."""
    from haystack import Document, Pipeline, component
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    @component
    class LookUp:
        @component.output_types(embedding=list[float])
        def run(self, text: str) -> dict[str, Any]:
            return {"embedding": given.embed(text).tolist()}

    @component
    class First:
        """The first ones of a leg: what it gives when it is asked for its default of 10."""

        @component.output_types(documents=list[Document])
        def run(self, documents: list[Document]) -> dict[str, Any]:
            return {"documents": documents[:10]}

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    pairs = zip(given.units, given.vectors, strict=True)
    store.write_documents([Document(id=id_, content=text, embedding=row.tolist()) for (id_, text), row in pairs])
    pipeline = Pipeline()
    pipeline.add_component("embedder", LookUp())
    pipeline.add_component("vectors", InMemoryEmbeddingRetriever(store, top_k=given.deep))
    pipeline.add_component("words", InMemoryBM25Retriever(store, top_k=given.deep))
    pipeline.connect("embedder.embedding", "vectors.query_embedding")
    names = []
    for leg in ("words", "vectors"):  # scoring all texts takes nearly all of the time: it is done once
        pipeline.add_component(f"{leg}_first", First())
        pipeline.connect(leg, f"{leg}_first")
    for mode in ("reciprocal_rank_fusion", "distribution_based_rank_fusion"):
        for name, suffix in (("default", "_first"), ("deep", "")):
            names.append(f"{mode}, {name}")
            pipeline.add_component(names[-1], DocumentJoiner(join_mode=mode))
            for leg in ("words", "vectors"):
                pipeline.connect(f"{leg}{suffix}", names[-1])

    def search(query: str) -> dict[str, list[str]]:
        found = pipeline.run({"embedder": {"text": query}, "words": {"query": query}})
        return {name: [document.id for document in found[name]["documents"]] for name in names}

    yield search


def txtai(given: Given) -> Iterator[Search]:
    """`Embeddings(hybrid=True)`: convex, BM25 normalised, weights a half; 3 results, ten times as many of each leg."""
    from txtai import Embeddings

    def transform(texts: list[str]) -> Any:
        return np.stack([given.embed(text) for text in texts]).astype(np.float32)

    index = Embeddings(
        method="external",
        transform=transform,
        content=True,
        backend="faiss",
        hybrid=True,
        faiss={"components": "IDMap,Flat"},
    )
    index.index([(id_, {"text": text}) for id_, text in given.units])
    for name, k in (("default", None), ("deep", given.deep)):

        def search(query: str, k: int | None = k, label: str = f"hybrid=True, {name}") -> dict[str, list[str]]:
            rows = index.search("select id, score from txtai where similar(:query)", k, parameters={"query": query})
            return {label: [row["id"] for row in rows]}

        yield search


LIBRARIES: dict[str, Callable[[Given], Iterator[Search]]] = {
    "langchain": langchain,
    "llamaindex": llamaindex,
    "haystack": haystack,
    "txtai": txtai,
}


def main() -> None:
    library, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    given = Given(folder)
    variants: dict[str, list[tuple[str, list[str], float]]] = {}
    for search in LIBRARIES[library](given):
        search(given.queries[0][1])  # what is built at the first query is not that query's time
        for id_, text in given.queries:
            start = time.perf_counter()
            found = search(text)
            lap = time.perf_counter() - start
            for name, ids in found.items():
                variants.setdefault(name, []).append((id_, list(ids), lap))
    out.write_text(json.dumps(variants), encoding="utf-8")


if __name__ == "__main__":
    main()
