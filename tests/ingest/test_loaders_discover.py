from __future__ import annotations

from pathlib import Path

from genkit_rag._ingest.discover import Roots
from genkit_rag_faiss import Faiss

from .conftest import Corpus


async def test_a_store_inside_of_a_folder_is_not_ingested(corpus: Corpus) -> None:
    from genkit_rag import Document, Genkit
    from genkit_rag.testing import FakeEmbedder

    corpus.write("a.txt", "fine")
    plugin = Faiss(["notes"], path=corpus.folder / "stores", embedder="fake/words")
    async with Genkit(plugins=[FakeEmbedder(), plugin]) as ai:
        await ai.index("faiss/notes", [Document("kept in the store")])
    corpus.write("stores/notes/README.txt", "a file of the store")
    report = await corpus.ingest()
    assert corpus.sink.sources() == {"docs/a.txt"}
    assert report.ok
    assert report.skipped == []


async def test_a_folder_that_becomes_a_store_is_removed_from_the_index(corpus: Corpus) -> None:
    corpus.write("a.txt", "fine")
    corpus.write("b/c.txt", "gone soon")
    await corpus.ingest()
    corpus.write("b/FORMAT", "{}")
    corpus.write("b/store.db", "")
    await corpus.ingest()
    assert corpus.sink.sources() == {"docs/a.txt"}


def test_folders_that_are_left_out_are_named_once(tmp_path: Path) -> None:
    for name in ("a/x.txt", "state/y.txt", "store/FORMAT", "store/store.db", "store/z.txt", "half/FORMAT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    roots = Roots.parse(tmp_path, tmp_path, excluded=[tmp_path / "state"])
    for _ in range(2):  # files are counted first
        found = [file.name for file in roots.files_found(lambda name, reason: None)]
        assert found == ["a/x.txt", "half/FORMAT"]
    assert roots.skipped == ["state", "store"]
