from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import TextEncoder
from genkit_rag.testing import RerankerContract
from genkit_rag_late_interaction import LateInteraction
from genkit_rag_late_interaction._reader import Reader

NAME = "late-interaction/all-minilm-l6-v2"
needs_weights = pytest.mark.weights("all-minilm-l6-v2")
_PLUGIN = LateInteraction()  # one for the module: loading takes a third of a second
_READER_ENCODER = TextEncoder("all-minilm-l6-v2")

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
    halves = [document.astype(np.float16).astype(np.float32) for document in documents]  # as they are kept
    maxsim = np.array([(query @ document.T).max(axis=1).mean() for document in halves])
    scaled = (maxsim - maxsim.min()) / (maxsim.max() - maxsim.min())
    assert await scores_of(ai, scored(10, 5, 0), weight=1) == pytest.approx(scaled.tolist(), abs=1e-5)
    assert await scores_of(ai, scored(10, 5, 0), weight=0) == pytest.approx([1, 0.5, 0], abs=1e-5)
    joined = 0.6 * scaled + 0.4 * np.array([1, 0.5, 0])
    assert await scores_of(ai, scored(10, 5, 0)) == pytest.approx(joined.tolist(), abs=1e-5)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the model reads during the test."""
    texts: list[str] = []
    real = TextEncoder.embed_tokens

    def embed_tokens(self: TextEncoder, given: Sequence[str]) -> Any:
        texts.extend(given)
        return real(self, given)

    monkeypatch.setattr(TextEncoder, "embed_tokens", embed_tokens)
    return texts


@needs_weights
async def test_a_document_is_read_once(ai: Genkit, read: list[str]) -> None:
    first = await scores_of(ai, scored(1, 2, 3))
    assert read == [*TEXTS, QUERY]
    assert await scores_of(ai, scored(1, 2, 3)) == first
    assert read == [*TEXTS, QUERY, QUERY]


@needs_weights
async def test_a_file_keeps_what_was_read_for_later_runs(read: list[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "vectors.sqlite"
    async with Genkit(plugins=[LateInteraction(cache_path=path)]) as ai:
        first = await scores_of(ai, scored(1, 2, 3))
    async with Genkit(plugins=[LateInteraction(cache_path=str(path), cache_bytes=0)]) as ai:
        assert await scores_of(ai, scored(1, 2, 3)) == first
    assert read == [*TEXTS, QUERY, QUERY]


@needs_weights
async def test_without_a_cache_documents_are_read_each_time(read: list[str]) -> None:
    async with Genkit(plugins=[LateInteraction(cache_bytes=0)]) as ai:
        assert await scores_of(ai, scored(1, 2, 3)) == await scores_of(ai, scored(1, 2, 3))
    assert read == [*TEXTS, QUERY] * 2


@needs_weights
async def test_a_file_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 100)
    async with Genkit(plugins=[LateInteraction(cache_path=path)]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank(NAME, QUERY, scored(1, 2, 3))
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "notes.txt" in caught.value.message
    assert path.read_text() == "my notes " * 100


@needs_weights
async def test_a_long_document_is_read_to_its_end() -> None:
    filler = "The weather was fine and nothing happened on that day. " * 60
    long = [Document(f"{filler} {text}", id=str(number)) for number, text in enumerate(TEXTS)]
    for max_tokens, best in ((1536, "1"), (254, "0")):  # cut, they are all the same
        async with Genkit(plugins=[LateInteraction(max_tokens=max_tokens)]) as ai:
            assert (await ai.rerank(NAME, QUERY, long))[0].id == best


@needs_weights
@settings(deadline=None)
@given(
    text=st.text(max_size=40) | st.lists(st.sampled_from(["cat", "undoable", "\n", "😴", "\ud83d"])).map(" ".join),
    many=st.integers(1, 60),
    max_tokens=st.integers(1, 700),
)
def test_windows_fit_the_model_and_lose_no_word(text: str, many: int, max_tokens: int) -> None:
    encoder = _READER_ENCODER
    whole = f"{text} " * many
    windows = Reader(encoder, max_tokens).windows(whole)
    assert windows
    at = 0
    for window in windows:
        assert encoder.count_tokens(window) <= encoder.max_tokens + 2  # what is cut may be read a token longer
        at = whole.index(window, at) + len(window)
    total = encoder.count_tokens(whole) - 2
    if total <= max_tokens:
        assert abs(sum(encoder.count_tokens(window) - 2 for window in windows) - total) <= len(windows)
    else:
        assert sum(encoder.count_tokens(window) - 2 for window in windows) <= max_tokens + len(windows)


@needs_weights
async def test_documents_without_text_have_no_likeness(ai: Genkit) -> None:
    picture = Document.from_media("data:image/png;base64,AA==", "image/png")
    found = await ai.rerank(NAME, QUERY, [picture, Document("")])
    assert [document.data_type for document in found] == ["image/png", None]


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(GenkitError, match="cache_bytes"):
        LateInteraction(cache_bytes=-1)
    with pytest.raises(GenkitError, match="cache_path_bytes"):
        LateInteraction(cache_path_bytes=-1)


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
