from __future__ import annotations

import json
import os
import shutil
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


# ---- images


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("PIL")
    from tests.embedders.tiny_clip import save_clip

    return save_clip(tmp_path_factory.mktemp("models") / "clip")


def image(*colour: int) -> Document:
    from tests.embedders.tiny_clip import png

    red, green, blue = colour
    return Document.from_media(png((red, green, blue)), "image/png")


async def test_texts_and_images_of_one_call_keep_their_places(clip: Path) -> None:
    embedder = await one(SentenceTransformers({"clip": clip}, prompts={"clip": ("q ", "d ")}))
    documents = [image(255, 0, 0), Document("cat"), image(0, 0, 255), Document("dog")]
    together = (await embedder(EmbedRequest(input=documents))).vectors
    alone = [(await embedder(EmbedRequest(input=[document]))).vectors[0] for document in documents]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert len({vector.tobytes() for vector in together}) == 4
    assert embedder.info.supports is not None
    assert embedder.info.supports.input == ["text", "image"]


async def test_a_model_of_texts_refuses_images(folder: Path) -> None:
    embedder = await one(SentenceTransformers({"tiny": folder}))
    with pytest.raises(GenkitError, match=r"`input\[1\]` must be text") as caught:
        await embedder(EmbedRequest(input=[Document("cat"), image(1, 2, 3)]))
    assert caught.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "url",
    ["https://example.org/cat.png", "data:image/png;base64,!!!", "data:image/png;base64,aGVsbG8=", "data:nothing"],
)
async def test_what_is_no_image_is_named(clip: Path, url: str) -> None:
    embedder = await one(SentenceTransformers({"clip": clip}))
    with pytest.raises(GenkitError, match=r"input\[0\]") as caught:
        await embedder(EmbedRequest(input=[Document.from_media(url, "image/png")]))
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_an_image_with_a_caption_is_refused(clip: Path) -> None:
    embedder = await one(SentenceTransformers({"clip": clip}))
    both = Document([*image(1, 2, 3).content, *Document("a cat").content])
    with pytest.raises(GenkitError, match="one image or text"):
        await embedder(EmbedRequest(input=[both]))


# ---- code of models


@pytest.fixture
def with_code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose configuration names Python code of its own; that code leaves a trace when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    place = tmp_path / "with_code"
    shutil.copytree(folder, place)
    config = json.loads((place / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "own.Own", "AutoConfig": "own.OwnConfig"}, "model_type": "own-bert"}
    (place / "config.json").write_text(json.dumps(config))
    (place / "own.py").write_text(
        f"open({str(tmp_path / 'trace')!r}, 'w').close()\n"
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own-bert'\n"
        "class Own(BertModel):\n    config_class = OwnConfig\n"
    )
    return place


def traced(model: Path) -> bool:
    return (model.parent / "trace").exists()


async def test_code_of_a_model_is_not_run_unasked(with_code: Path) -> None:
    embedder = await one(SentenceTransformers({"own": with_code}, trust_remote_code=["other"]))
    with pytest.raises(GenkitError, match="Python code") as caught:
        await embed(embedder, "cat")
    assert caught.value.status == "FAILED_PRECONDITION"
    assert "trust_remote_code=[" in str(caught.value.hint)
    assert not traced(with_code)
    await embed(await one(SentenceTransformers({"own": with_code}, trust_remote_code=["own"])), "cat")
    assert traced(with_code)


def test_code_is_trusted_model_by_model() -> None:
    for wrong in (True, "own"):
        with pytest.raises(GenkitError, match="must be a list of models"):
            SentenceTransformers(["own"], trust_remote_code=wrong)  # type: ignore[arg-type]
