from __future__ import annotations

import json
import math
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import RerankerContract
from genkit_rag_cross_encoder import CrossEncoder
from tests.fakes.tiny_bert import save_classifier

TEXTS = ["a cat sleeps on the stove", "git merge a branch", "interest rates", "", "how does a kitten sleep"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("models") / "tiny")


class TestContract(RerankerContract):
    @pytest.fixture
    async def reranker(self, folder: Path) -> Any:
        (reranker,) = await CrossEncoder({"tiny": folder}, device="cpu").init()
        return reranker


@pytest.fixture
async def ai(folder: Path) -> AsyncIterator[Genkit]:
    async with Genkit(plugins=[CrossEncoder({"tiny": folder, "text": str(folder)}, batch_size=2)]) as made:
        yield made


async def test_scores_are_those_of_the_model(ai: Genkit, folder: Path) -> None:
    from sentence_transformers import CrossEncoder as Engine

    found = await ai.rerank("cross-encoder/tiny", "does a cat sleep", [Document(text) for text in TEXTS])
    expected = Engine(str(folder), device="cpu").predict([("does a cat sleep", text) for text in TEXTS])
    by_text = {document.text: document.score for document in found}
    assert [by_text[text] for text in TEXTS] == pytest.approx(expected.tolist(), abs=1e-5)
    assert len({round(score, 4) for score in expected.tolist()}) > 2  # else the order would prove nothing


async def test_a_path_as_text_loads_too(ai: Genkit) -> None:
    assert len(await ai.rerank("cross-encoder/text", "cat", [Document("cat")])) == 1


async def test_any_text_has_a_score(ai: Genkit) -> None:
    odd = ["猫 😴 \x00", "half of a pair: \ud83d", "cat " * 5000]
    assert len(await ai.rerank("cross-encoder/tiny", "\ud83d?", [Document(text) for text in odd])) == len(odd)


async def test_a_classifier_is_refused(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "classifier", labels=3)
    async with Genkit(plugins=[CrossEncoder({"three": folder})]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("cross-encoder/three", "cat", [Document("cat")])
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "3 labels" in caught.value.message


async def test_the_usual_model_and_any_id_are_there_without_loading() -> None:
    async with Genkit(plugins=[CrossEncoder()]) as ai:
        names = ["cross-encoder/ms-marco-minilm", "cross-encoder/ms-marco-MiniLM-L12-v2", "cross-encoder/BAAI/bge-m3"]
        for name in names:
            assert (await ai.registry.get("reranker", name)).name == name
        found = await ai.registry.get("reranker", names[0])
        assert found.description == "cross-encoder/ms-marco-MiniLM-L6-v2"


async def test_a_folder_that_does_not_exist_is_named() -> None:
    async with Genkit(plugins=[CrossEncoder({"gone": "/nowhere/model"})]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("cross-encoder/gone", "cat", [Document("cat")])
    assert caught.value.status == "NOT_FOUND"


def test_a_bare_string_instead_of_a_list_is_refused() -> None:
    with pytest.raises(GenkitError):
        CrossEncoder("ms-marco")


async def scores_with(folder: Path, **settings: Any) -> list[float]:
    async with Genkit(plugins=[CrossEncoder({"tiny": folder}, device="cpu", **settings)]) as ai:
        found = await ai.rerank("cross-encoder/tiny", "does a cat sleep", [Document(text) for text in TEXTS])
    scores = {document.text: document.score for document in found}
    return [scores[text] or 0.0 for text in TEXTS]


async def test_the_activation_is_the_models_or_the_one_that_is_named(folder: Path) -> None:
    raw = await scores_with(folder, activation="identity")
    bounded = [1 / (1 + math.exp(-score)) for score in raw]
    assert await scores_with(folder, activation="sigmoid") == pytest.approx(bounded, abs=1e-5)
    assert any(not 0 <= score <= 1 for score in raw)


async def test_half_precision_is_nearly_the_same(folder: Path) -> None:
    whole = await scores_with(folder, activation="identity")
    for dtype in ("float16", "bfloat16"):
        half = await scores_with(folder, activation="identity", dtype=dtype)
        assert half == pytest.approx(whole, abs=0.1)
        assert half != whole


async def test_texts_are_cut_at_max_tokens(folder: Path) -> None:
    async with Genkit(plugins=[CrossEncoder({"tiny": folder}, device="cpu", max_tokens=12)]) as ai:
        documents = [Document("cat sleeps " * many, id=str(many)) for many in (20, 30)]
        one, other = await ai.rerank("cross-encoder/tiny", "cat", documents)
    assert one.score == pytest.approx(other.score, abs=1e-6)


async def test_a_model_with_code_of_its_own_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(folder, evil)
    config = json.loads((evil / "config.json").read_text())
    mine = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    config |= {"model_type": "mine", "auto_map": mine}
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    async with Genkit(plugins=[CrossEncoder({"evil": evil})]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("cross-encoder/evil", "cat", [Document("cat")])
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "never run" in caught.value.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"max_tokens": 0}, {"dtype": "int8"}, {"activation": "softmax"}]
)
def test_a_wrong_setting_is_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(GenkitError) as caught:
        CrossEncoder(**arguments)
    assert caught.value.details == {"argument": next(iter(arguments))}
