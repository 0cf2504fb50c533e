from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import EmbedderAction, EmbedderOptions, EmbedRequest, Vectors, weights_path
from genkit_rag.testing import EmbedderContract
from genkit_rag_sentence_transformers import SentenceTransformers
from tests.fakes.tiny_bert import save_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "tiny")


async def one(plugin: SentenceTransformers) -> EmbedderAction:
    (embedder,) = await plugin.init()
    return embedder


async def embed(embedder: EmbedderAction, text: str, **options: Any) -> Vectors:
    request = EmbedRequest(input=[Document(text)], options=EmbedderOptions(**options))
    vector: Vectors = (await embedder(request)).vectors[0]
    return vector


class TestContract(EmbedderContract):
    @pytest.fixture
    async def embedder(self, folder: Path) -> Any:
        return await one(SentenceTransformers({"tiny": folder}, device="cpu"))


@pytest.mark.weights("all-minilm-l6-v2-torch", "all-minilm-l6-v2")
async def test_the_published_model_agrees_with_its_small_twin() -> None:
    from genkit_rag_minilm import MiniLM

    torch_side = await one(SentenceTransformers({"minilm": weights_path("all-minilm-l6-v2-torch")}, device="cpu"))
    (onnx_side,) = await MiniLM().init()
    for text in ("cat", "How do I merge two branches?", "Interest rates rose by a quarter point. " * 40):
        assert await embed(torch_side, text) @ await embed(onnx_side, text) > 0.998
    assert (torch_side.info.dimensions, torch_side.info.max_tokens) == (384, 256)


async def test_the_action_learns_what_it_is_when_the_model_is_loaded(folder: Path) -> None:
    embedder = await one(SentenceTransformers({"tiny": folder}))
    assert embedder.name == "sentence-transformers/tiny"
    assert embedder.info.dimensions is None
    await embed(embedder, "cat")
    assert (embedder.info.dimensions, embedder.info.max_tokens) == (32, 64)
    assert len(embedder.fingerprint(32).revision) == 64


async def test_prompts_change_the_vectors_and_the_fingerprint(folder: Path) -> None:
    plain = await one(SentenceTransformers({"tiny": folder}))
    asymmetric = await one(SentenceTransformers({"tiny": folder}, prompts={"tiny": ("git ", "cat ")}))
    expected = await embed(plain, "cat sleep")
    np.testing.assert_allclose(await embed(asymmetric, "sleep"), expected, atol=1e-5)
    expected = await embed(plain, "git sleep")
    np.testing.assert_allclose(await embed(asymmetric, "sleep", task="query"), expected, atol=1e-5)
    assert asymmetric.fingerprint(32).prefixes == ("git ", "cat ")
    assert asymmetric.fingerprint(32) != plain.fingerprint(32)


async def test_a_models_own_prompts_are_used(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", prompts={"query": "git ", "document": "cat "})
    model.save(str(tmp_path / "prompted"))
    embedder = await one(SentenceTransformers({"prompted": tmp_path / "prompted"}))
    plain = await one(SentenceTransformers({"tiny": folder}))
    np.testing.assert_allclose(await embed(embedder, "sleep", task="query"), await embed(plain, "git sleep"), atol=1e-5)
    assert embedder.info.prefixes == ("git ", "cat ")


async def test_shorter_vectors_have_length_one_and_longer_ones_are_refused(folder: Path) -> None:
    embedder = await one(SentenceTransformers({"tiny": folder}))
    whole, short = await embed(embedder, "cat"), await embed(embedder, "cat", dimensions=8)
    np.testing.assert_allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-5)
    with pytest.raises(GenkitError) as caught:
        await embed(embedder, "cat", dimensions=33)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_other_weights_have_another_revision(folder: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    other = save_encoder(tmp_path / "other")
    model = BertModel.from_pretrained(other)
    model.embeddings.word_embeddings.weight.data[5] += 1  # type: ignore[union-attr]
    model.save_pretrained(other)
    revisions: set[str] = set()
    for path in (folder, other):
        embedder = await one(SentenceTransformers({"m": path}))
        await embed(embedder, "cat")
        revisions.add(embedder.info.revision)
    assert len(revisions) == 2


async def test_any_id_is_an_embedder_and_nothing_is_loaded_for_it() -> None:
    async with Genkit(plugins=[SentenceTransformers(["sentence-transformers/all-MiniLM-L6-v2"])]) as ai:
        for name in ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/BAAI/bge-small-en-v1.5"):
            found = await ai.registry.get("embedder", name)
            assert found.name == name


async def test_a_folder_that_does_not_exist_is_named() -> None:
    embedder = await one(SentenceTransformers({"gone": "/nowhere/model"}))
    with pytest.raises(GenkitError) as caught:
        await embed(embedder, "cat")
    assert caught.value.status == "NOT_FOUND"
    assert "/nowhere/model" in caught.value.message


async def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    embedder = await one(SentenceTransformers({"bad": tmp_path}))
    with pytest.raises(GenkitError) as caught:
        await embed(embedder, "cat")
    assert caught.value.status == "FAILED_PRECONDITION"
    assert str(tmp_path) in caught.value.message


def test_a_bare_string_instead_of_a_list_is_refused() -> None:
    with pytest.raises(GenkitError) as caught:
        SentenceTransformers("all-MiniLM-L6-v2")
    assert "models=['all-MiniLM-L6-v2']" in str(caught.value)


_OFFLINE = """
import asyncio, json, sys
from genkit_rag import Genkit, GenkitError
from genkit_rag_sentence_transformers import SentenceTransformers
async def main():
    async with Genkit(plugins=[SentenceTransformers(["nobody/has-this"])]) as ai:
        await ai.registry.get("embedder", "sentence-transformers/nobody/has-this")
        lazy = "torch" not in sys.modules
        try:
            await ai.embed("sentence-transformers/nobody/has-this", "cat")
        except GenkitError as error:
            print(json.dumps([lazy, error.status, error.message, error.hint]))
asyncio.run(main())
"""


def test_without_a_hub_the_error_says_that_a_folder_would_do(tmp_path: Path) -> None:
    # In a process of its own: the hub's client reads its switches when it is imported.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _OFFLINE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lazy, status, message, hint = json.loads(done.stdout.splitlines()[-1])
    assert lazy, "torch was imported before the first call"
    assert status == "UNAVAILABLE"
    assert "nobody/has-this" in message
    assert "folder" in hint
