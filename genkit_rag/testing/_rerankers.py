"""The contract of rerankers: subclass it, give one fixture, and the reranker is tested."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._rag.reranking import RerankerAction, RerankerRequest

QUERY = "How does a kitten sleep?"
TEXTS = [
    "Interest rates rose by a quarter point.",
    "Kittens sleep for up to twenty hours a day, often in a heap.",
    "To merge two branches, run git merge.",
    "A cat sleeps on the warm stove.",
    "",
    "Ein Kätzchen schläft. 子猫は眠る。 😴",
]


def candidates() -> list[Document]:
    """Return documents in the form of a retriever's result: with ids, metadata, scores and ranks."""
    documents: list[Document] = []
    for rank, text in enumerate(TEXTS):
        document = Document(text, {"position": rank, "tags": ["a", "b"]}, id=f"d{rank}", score=0.9 - 0.1 * rank)
        document.rank, document.retriever = rank, "test/store"
        documents.append(document)
    return documents


async def rerank(reranker: RerankerAction, documents: list[Document], **options: Any) -> list[Document]:
    """Rerank documents in one call."""
    request = RerankerRequest(query=Document(QUERY), documents=documents, options=options or None)
    return (await reranker(request)).documents


@pytest.mark.asyncio
class RerankerContract:
    """What holds for every reranker, whatever it looks at.

    A subclass gives the fixture `reranker`: the action.
    """

    @pytest.fixture
    async def reranker(self) -> Any:
        """Provide the reranker under test; the subclass overrides it."""
        raise NotImplementedError

    async def test_every_document_comes_back_once_best_first(self, reranker: RerankerAction) -> None:
        found = await rerank(reranker, candidates())
        assert {document.id for document in found} == {document.id for document in candidates()}
        assert len(found) == len(TEXTS)
        scores = [document.score for document in found]
        assert scores == sorted(scores, key=lambda score: -(score or 0.0))
        assert [document.rank for document in found] == list(range(len(found)))

    async def test_documents_keep_text_metadata_and_earlier_scores(self, reranker: RerankerAction) -> None:
        before = {document.id: document for document in candidates()}
        for document in await rerank(reranker, candidates()):
            earlier = before[document.id]
            assert (document.text, document.metadata) == (earlier.text, earlier.metadata)
            assert document.retriever == "test/store"
            assert document.scores is not None
            assert document.scores["test/store"] == earlier.score
            assert document.scores[reranker.name] == document.score

    async def test_the_inputs_are_left_as_they_were(self, reranker: RerankerAction) -> None:
        documents = candidates()
        for document in await rerank(reranker, documents):
            document.metadata["position"] = "changed"
        assert documents == candidates()

    async def test_k_keeps_the_best(self, reranker: RerankerAction) -> None:
        whole = [document.id for document in await rerank(reranker, candidates())]
        for k in (1, 3):
            assert [document.id for document in await rerank(reranker, candidates(), k=k)] == whole[:k]

    async def test_k_beyond_the_count_keeps_all_and_zero_none(self, reranker: RerankerAction) -> None:
        assert len(await rerank(reranker, candidates(), k=100)) == len(TEXTS)
        assert await rerank(reranker, candidates(), k=0) == []

    async def test_a_negative_k_is_refused(self, reranker: RerankerAction) -> None:
        with pytest.raises(GenkitError) as caught:
            await rerank(reranker, candidates(), k=-1)
        assert caught.value.status == "INVALID_ARGUMENT"

    async def test_an_unknown_option_is_refused_by_name(self, reranker: RerankerAction) -> None:
        with pytest.raises(GenkitError) as caught:
            await rerank(reranker, candidates(), kk=3)
        assert caught.value.status == "INVALID_ARGUMENT"
        assert "kk" in caught.value.message

    async def test_no_documents_give_none(self, reranker: RerankerAction) -> None:
        assert await rerank(reranker, []) == []

    async def test_documents_without_scores_and_ids_are_ranked_too(self, reranker: RerankerAction) -> None:
        found = await rerank(reranker, [Document(text) for text in TEXTS])
        assert {document.text for document in found} == set(TEXTS)
        assert all(document.score is not None for document in found)

    async def test_one_document_comes_back(self, reranker: RerankerAction) -> None:
        (found,) = await rerank(reranker, candidates()[:1])
        assert found.id == "d0"

    async def test_the_same_text_twice_comes_back_twice(self, reranker: RerankerAction) -> None:
        twins = [Document(TEXTS[1], id="first", score=0.5), Document(TEXTS[1], id="second", score=0.5)]
        assert {document.id for document in await rerank(reranker, twins)} == {"first", "second"}

    async def test_the_same_call_gives_the_same_order(self, reranker: RerankerAction) -> None:
        first, second = await rerank(reranker, candidates()), await rerank(reranker, candidates())
        assert [document.id for document in first] == [document.id for document in second]
        assert [document.score for document in first] == pytest.approx([d.score for d in second], abs=1e-5)

    async def test_concurrent_calls_give_what_each_gives_alone(self, reranker: RerankerAction) -> None:
        alone = [document.id for document in await rerank(reranker, candidates())]
        for found in await asyncio.gather(*(rerank(reranker, candidates()) for _ in range(6))):
            assert [document.id for document in found] == alone

    async def test_it_can_be_called_with_wire_data(self, reranker: RerankerAction) -> None:
        raw = {
            "query": {"content": [{"text": QUERY}]},
            "documents": [document.to_wire() for document in candidates()],
            "options": {"k": 2},
        }
        found = (await reranker.run_json(raw))["documents"]
        assert len(found) == 2
        assert {"id", "score", "position"} <= set(found[0]["metadata"])
