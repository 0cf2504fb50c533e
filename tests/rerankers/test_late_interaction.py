from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import TextEncoder
from genkit_rag.testing import RerankerContract
from genkit_rag_late_interaction import LateInteraction

NAME = "late-interaction/all-minilm-l6-v2"
needs_weights = pytest.mark.weights("all-minilm-l6-v2")
_PLUGIN = LateInteraction()  # one for the module: loading takes a third of a second

QUERY = "how do I undo the last commit"
TEXTS = [
    "Interest rates rose by a quarter point.",
    "To take back the last commit but keep its changes, run git reset --soft HEAD~1.",
    "Commitment is what a team needs to last.",
]


@needs_weights
class TestContract(RerankerContract):
    @pytest.fixture
    async def reranker(self) -> Any:
        (reranker,) = await _PLUGIN.init()
        return reranker


@pytest.fixture
async def ai() -> AsyncIterator[Genkit]:
    async with Genkit(plugins=[LateInteraction()]) as made:
        yield made


def scored(*scores: float) -> list[Document]:
    return [Document(text, score=score) for text, score in zip(TEXTS, scores, strict=True)]


async def scores_of(ai: Genkit, documents: list[Document], **options: Any) -> list[float]:
    found = {document.text: document.score for document in await ai.rerank(NAME, QUERY, documents, options)}
    return [found[text] or 0.0 for text in TEXTS]


@needs_weights
async def test_the_document_whose_words_mean_the_same_comes_first(ai: Genkit) -> None:
    found = await ai.rerank(NAME, QUERY, [Document(text) for text in TEXTS])
    assert found[0].text == TEXTS[1]


@needs_weights
async def test_scores_are_maxsim_and_the_earlier_ones_joined(ai: Genkit) -> None:
    query, *documents = TextEncoder("all-minilm-l6-v2").embed_tokens([QUERY, *TEXTS])
    maxsim = np.array([(query @ document.T).max(axis=1).mean() for document in documents])
    scaled = (maxsim - maxsim.min()) / (maxsim.max() - maxsim.min())
    assert await scores_of(ai, scored(10, 5, 0), weight=1) == pytest.approx(scaled.tolist(), abs=1e-5)
    assert await scores_of(ai, scored(10, 5, 0), weight=0) == pytest.approx([1, 0.5, 0], abs=1e-5)
    joined = 0.4 * scaled + 0.6 * np.array([1, 0.5, 0])
    assert await scores_of(ai, scored(10, 5, 0)) == pytest.approx(joined.tolist(), abs=1e-5)


@needs_weights
async def test_without_all_earlier_scores_maxsim_decides(ai: Genkit) -> None:
    partly = [*scored(10, 5, 0)[:2], Document(TEXTS[2])]
    assert await scores_of(ai, partly) == pytest.approx(await scores_of(ai, scored(10, 5, 0), weight=1), abs=1e-5)


@needs_weights
async def test_a_query_without_words_keeps_the_earlier_order(ai: Genkit) -> None:
    found = await ai.rerank(NAME, "", scored(1, 3, 2))
    assert [document.text for document in found] == [TEXTS[1], TEXTS[2], TEXTS[0]]


async def test_missing_weights_say_which_command_fetches_them(
    ai: Genkit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path))
    with pytest.raises(GenkitError) as caught:
        await ai.rerank(NAME, QUERY, scored(1, 2, 3))
    assert caught.value.hint == "Run: genkit-rag models pull all-minilm-l6-v2"


@pytest.mark.parametrize("weight", [-0.1, 1.1])
async def test_a_weight_out_of_range_is_refused(ai: Genkit, weight: float) -> None:
    with pytest.raises(GenkitError):
        LateInteraction(weight=weight)
    with pytest.raises(GenkitError) as caught:
        await ai.rerank(NAME, QUERY, scored(1, 2, 3), {"weight": weight})
    assert caught.value.status == "INVALID_ARGUMENT"
