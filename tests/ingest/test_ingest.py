from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document
from genkit_rag._core.errors import GenkitError
from genkit_rag.ingest import (
    ChunksDone,
    Finished,
    IngestStopped,
    Loaders,
    SourceDone,
    Splitter,
    Started,
)

from .conftest import Corpus, MemorySink
from .pdf import encrypted, make_pdf

SMALL = Splitter(60, 0, len)
PARAGRAPHS = [f"Paragraph number {number} says something of its own." for number in range(6)]
TEXT = "\n\n".join(PARAGRAPHS)


def age(path: Path, seconds: float = 60) -> None:
    """Sets a file's time back, so that it was not changed a moment ago."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))


async def test_a_folder_is_indexed_with_its_metadata(corpus: Corpus) -> None:
    corpus.write("a.md", "# Title\n\nSome text.")
    corpus.write("sub/b.txt", "Plain.")
    corpus.write("c.pdf", make_pdf(["Page one", "Page two"]))
    report = await corpus.ingest()
    assert (report.added, report.ok, report.chunks_added) == (3, True, 4)
    assert corpus.sink.sources() == {"docs/a.md", "docs/sub/b.txt", "docs/c.pdf"}
    pages = [doc.metadata["page"] for doc in corpus.sink.documents.values() if doc.metadata["source"] == "docs/c.pdf"]
    assert pages == [1, 2]
    heading = next(doc for doc in corpus.sink.documents.values() if doc.metadata["source"] == "docs/a.md")
    assert heading.metadata == {
        "title": "Title",
        "source": "docs/a.md",
        "chunk": 0,
        "start": 0,
        "end": 19,
        "heading_path": ["Title"],
    }


async def test_a_second_run_embeds_nothing(corpus: Corpus) -> None:
    for number in range(30):
        corpus.write(f"{number}.txt", TEXT + str(number))
    first = await corpus.ingest(splitter=SMALL)
    assert first.chunks_added == len(corpus.sink.embedded)
    corpus.sink.embedded.clear()
    second = await corpus.ingest(splitter=SMALL)
    assert corpus.sink.embedded == corpus.sink.refreshed == corpus.sink.deleted == []
    assert (second.unchanged, second.added, second.chunks_kept) == (30, 0, first.chunks_added)


async def test_only_the_changed_chunks_of_a_changed_file_are_embedded(corpus: Corpus) -> None:
    corpus.write("a.txt", TEXT)
    corpus.write("b.txt", "Other.")
    await corpus.ingest(splitter=SMALL)
    corpus.sink.embedded.clear()
    new = "A whole new paragraph of about the same length, here."
    corpus.write("a.txt", TEXT.replace(PARAGRAPHS[2], new))
    report = await corpus.ingest(splitter=SMALL)
    assert corpus.sink.embedded == [new]
    assert len(corpus.sink.deleted) == 1
    assert corpus.sink.texts("docs/a.txt") == [*PARAGRAPHS[:2], new, *PARAGRAPHS[3:]]
    assert (report.changed, report.unchanged, report.chunks_added, report.chunks_deleted) == (1, 1, 1, 1)


async def test_chunks_that_only_moved_get_their_new_offsets_without_embedding(corpus: Corpus) -> None:
    corpus.write("a.txt", TEXT)
    await corpus.ingest(splitter=SMALL)
    corpus.sink.embedded.clear()
    text = "A new beginning, which moves all the others down.\n\n" + TEXT
    corpus.write("a.txt", text)
    await corpus.ingest(splitter=SMALL)
    assert len(corpus.sink.embedded) == 1
    assert len(corpus.sink.refreshed) == 6
    for doc in corpus.sink.documents.values():
        assert text[doc.metadata["start"] : doc.metadata["end"]] == doc.text


async def test_a_deleted_file_disappears_and_a_renamed_one_moves(corpus: Corpus) -> None:
    corpus.write("a.txt", "Alpha.")
    corpus.write("b.txt", "Beta.")
    await corpus.ingest()
    (corpus.folder / "a.txt").unlink()
    (corpus.folder / "b.txt").rename(corpus.folder / "c.txt")
    report = await corpus.ingest()
    assert corpus.sink.sources() == {"docs/c.txt"}
    assert (report.removed, report.added, report.chunks_deleted) == (2, 1, 2)


async def test_pruning_keeps_to_the_roots_and_can_be_turned_off(corpus: Corpus) -> None:
    for name in ("one/a.txt", "two/b.txt", "two/c.md"):
        corpus.write(name, name)
    await corpus.ingest()
    shutil.rmtree(corpus.folder / "one")
    corpus.write("one/new.txt", "new")
    (corpus.folder / "two/b.txt").unlink()
    (corpus.folder / "two/c.md").unlink()
    assert (await corpus.ingest(prune=False)).removed == 0
    assert (await corpus.ingest("docs/**/*.txt")).removed == 2
    assert corpus.sink.sources() == {"docs/one/new.txt", "docs/two/c.md"}
    assert (await corpus.ingest("docs/one")).removed == 0
    assert (await corpus.ingest()).removed == 1


async def test_a_folder_that_is_suddenly_empty_is_not_taken_as_removal(corpus: Corpus) -> None:
    path = corpus.write("a.txt", "Alpha.")
    await corpus.ingest()
    path.unlink()
    report = await corpus.ingest()
    assert report.removed == 0
    assert "prune=True" in report.notes[0].reason
    assert (await corpus.ingest(prune=True)).removed == 1
    assert corpus.sink.documents == {}


async def test_an_emptied_index_is_noticed_and_filled_again(corpus: Corpus) -> None:
    age(corpus.write("a.txt", TEXT))
    corpus.write("b.txt", "Beta.")
    await corpus.ingest()
    corpus.sink.documents.clear()
    report = await corpus.ingest()
    assert corpus.sink.sources() == {"docs/a.txt", "docs/b.txt"}
    assert report.chunks_added == len(corpus.sink.documents)


async def test_a_lost_manifest_embeds_nothing_again(corpus: Corpus) -> None:
    corpus.write("a.txt", TEXT)
    await corpus.ingest(splitter=SMALL)
    corpus.sink.embedded.clear()
    shutil.rmtree(corpus.base / ".genkit_rag")
    report = await corpus.ingest(splitter=SMALL)
    assert corpus.sink.embedded == []
    assert (report.added, report.chunks_kept) == (1, 6)


async def test_another_splitter_or_loader_loads_again(corpus: Corpus) -> None:
    age(corpus.write("a.txt", TEXT))
    await corpus.ingest(splitter=SMALL)
    assert (await corpus.ingest(splitter=Splitter(150, 0, len))).changed == 1
    assert len(corpus.sink.documents) == 2
    assert (await corpus.ingest(splitter=Splitter(150, 0, len), loaders=Loaders(text_field="x"))).changed == 1


async def test_each_target_is_remembered_for_itself(corpus: Corpus) -> None:
    corpus.write("a.txt", "Alpha.")
    await corpus.ingest()
    other = MemorySink(target="other")
    assert (await corpus.ingest(sink=other)).added == 1
    assert (await corpus.ingest(sink=other)).unchanged == 1


async def test_a_touched_file_is_recognised_by_its_content(corpus: Corpus) -> None:
    path = corpus.write("a.txt", "Alpha.")
    age(path)
    await corpus.ingest()
    age(path)
    assert (await corpus.ingest()).unchanged == 1


async def test_a_change_within_the_clock_tick_is_seen(corpus: Corpus) -> None:
    path = corpus.write("a.txt", "Alpha.")
    status = path.stat()
    await corpus.ingest()
    path.write_text("Gamma.")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (await corpus.ingest()).changed == 1
    assert corpus.sink.texts() == ["Gamma."]


async def test_a_bad_file_stops_nothing_and_says_why(corpus: Corpus) -> None:
    corpus.write("good.txt", "Good.")
    corpus.write("binary.txt", b"\0\1\2")
    corpus.write("locked.pdf", encrypted(make_pdf(["x"]), "word"))
    corpus.write("damaged.pdf", b"%PDF-1.4 nonsense")
    corpus.write("picture.png", b"\x89PNG")
    corpus.write("empty.txt", "")
    (corpus.folder / "broken.txt").symlink_to("nowhere")
    os.mkfifo(corpus.folder / "pipe.txt")
    (corpus.folder / "ring.txt").symlink_to("ring.txt")
    report = await corpus.ingest()
    assert {problem.source: problem.reason.split(" ")[0] for problem in report.failed} == {
        "docs/binary.txt": "a",
        "docs/locked.pdf": "encrypted:",
        "docs/damaged.pdf": "damaged",
        "docs/broken.txt": "a",
        "docs/pipe.txt": "not",
        "docs/ring.txt": "a",
    }
    assert [problem.source for problem in report.skipped] == ["docs/picture.png"]
    assert [problem.source for problem in report.notes] == ["docs/empty.txt"]
    assert corpus.sink.texts() == ["Good."]
    assert not report.ok


async def test_a_file_that_turns_bad_keeps_what_was_indexed_of_it(corpus: Corpus) -> None:
    corpus.write("a.jsonl", '{"text": "one"}\n{"text": "two"}\n')
    await corpus.ingest()
    before = set(corpus.sink.documents)

    def breaks(path: Path, context: Any) -> Any:
        yield from Loaders().load(path)
        raise OSError(5, "Input/output error")

    loaders = Loaders()
    loaders.register(".jsonl", breaks, version="2")
    corpus.write("a.jsonl", '{"text": "one"}\n{"text": "three"}\n')
    report = await corpus.ingest(loaders=loaders)
    assert report.failed[0].reason == "Input/output error"
    assert set(corpus.sink.documents) == before
    assert (await corpus.ingest()).changed == 1
    assert sorted(corpus.sink.texts()) == ["one", "three"]


async def test_a_damaged_manifest_names_the_file_to_delete_and_costs_no_embedding(corpus: Corpus) -> None:
    for number in range(200):
        corpus.write(f"{number}.txt", f"File number {number}.")
    await corpus.ingest()
    [manifest] = corpus.base.glob("**/*.db")
    content = manifest.read_bytes()
    manifest.write_bytes(content[:4096] + b"\x55" * (len(content) - 4096))  # its head is whole: opening it works
    with pytest.raises(GenkitError, match="cannot be used") as caught:
        await corpus.ingest()
    assert "Delete that file" in str(caught.value.hint)
    manifest.unlink()
    report = await corpus.ingest()
    assert (report.added, report.chunks_added, report.chunks_kept) == (200, 0, 200)


async def test_links_and_hidden_folders_are_not_followed(corpus: Corpus, tmp_path: Path) -> None:
    corpus.write("a.txt", "Alpha.")
    for name in (".git/b.txt", "node_modules/c.txt", "__pycache__/d.txt", ".env"):
        corpus.write(name, "no")
    (corpus.folder / "loop").symlink_to(corpus.folder)
    (corpus.folder / "twin.txt").symlink_to(corpus.folder / "a.txt")
    (tmp_path / "secret.txt").write_text("secret")
    (corpus.folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    for paths in ("docs", "docs/**/*.txt", ["docs", "docs/a.txt", "docs/*"]):
        report = await corpus.ingest(paths)
        assert corpus.sink.sources() == {"docs/a.txt"}
        assert [problem.source for problem in report.failed] == ["docs/out.txt"]
    assert (await corpus.ingest("docs/out.txt")).added == 1


async def test_a_path_that_does_not_exist_is_refused_by_name(corpus: Corpus) -> None:
    with pytest.raises(GenkitError, match=r"no 'nowhere\.txt'") as caught:
        await corpus.ingest(["docs", "nowhere.txt"])
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(GenkitError, match="`paths`"):
        await corpus.ingest([])
    with pytest.raises(GenkitError, match="`name`"):
        await corpus.ingest(name="../x")
    assert not (corpus.base / ".genkit_rag").exists()


async def test_a_dry_run_changes_nothing_and_tells_the_same(corpus: Corpus) -> None:
    corpus.write("a.txt", TEXT)
    planned = await corpus.ingest(splitter=SMALL, dry_run=True)
    assert corpus.sink.documents == {}
    assert [path.name for path in corpus.base.iterdir()] == ["docs"]
    done = await corpus.ingest(splitter=SMALL)
    assert {**planned.to_dict(), "seconds": 0, "dry_run": False} == {**done.to_dict(), "seconds": 0}

    corpus.write("a.txt", "\n\n".join(PARAGRAPHS[1:]))
    corpus.write("b.txt", "Beta.")
    before = dict(corpus.sink.documents)
    state = {path.name: path.read_bytes() for path in (corpus.base / ".genkit_rag/ingest").iterdir()}
    planned = await corpus.ingest(splitter=SMALL, dry_run=True)
    assert corpus.sink.documents == before
    assert {path.name: path.read_bytes() for path in (corpus.base / ".genkit_rag/ingest").iterdir()} == state
    assert (planned.added, planned.changed, planned.chunks_added, planned.chunks_deleted) == (1, 1, 1, 1)
    done = await corpus.ingest(splitter=SMALL)
    assert {**planned.to_dict(), "seconds": 0, "dry_run": False} == {**done.to_dict(), "seconds": 0}


async def test_a_failing_index_stops_the_run_with_its_report(corpus: Corpus) -> None:
    for number in range(20):
        corpus.write(f"{number:02}.txt", TEXT.replace("Paragraph", f"Part {number}"))
    corpus.sink.fail_at = 4
    with pytest.raises(IngestStopped, match="embedder is down") as caught:
        await corpus.ingest(splitter=SMALL, batch_size=10)
    assert 0 < caught.value.report.added < 20
    corpus.sink.fail_at = None
    report = await corpus.ingest(splitter=SMALL, batch_size=10)
    assert report.ok
    assert len(corpus.sink.embedded) == len(set(corpus.sink.embedded)) == len(corpus.sink.documents)
    assert report.added + caught.value.report.added == 20


async def test_a_cancelled_run_goes_on_later(corpus: Corpus) -> None:
    for number in range(20):
        corpus.write(f"{number:02}.txt", TEXT.replace("Paragraph", f"Part {number}"))
    reached = asyncio.Event()

    async def wait() -> None:
        if corpus.sink.calls == 3:
            reached.set()
            await asyncio.sleep(60)

    corpus.sink.before_index = wait
    task = asyncio.create_task(corpus.ingest(splitter=SMALL, batch_size=10))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    corpus.sink.before_index = None
    await corpus.ingest(splitter=SMALL, batch_size=10)
    assert len(corpus.sink.embedded) == len(set(corpus.sink.embedded)) == len(corpus.sink.documents) == 120


async def test_a_source_that_goes_after_a_broken_run_leaves_nothing_behind(corpus: Corpus) -> None:
    path = corpus.write("a.txt", TEXT)
    corpus.write("b.txt", "Beta.")
    corpus.sink.fail_at = 3
    with pytest.raises(IngestStopped):
        await corpus.ingest(splitter=SMALL, batch_size=2, concurrency=1)
    assert corpus.sink.documents
    corpus.sink.fail_at = None
    path.unlink()
    await corpus.ingest(splitter=SMALL)
    assert corpus.sink.sources() == {"docs/b.txt"}


async def test_a_changed_source_after_a_broken_run_leaves_no_old_chunks(corpus: Corpus) -> None:
    corpus.write("a.txt", TEXT)
    corpus.sink.fail_at = 3
    with pytest.raises(IngestStopped):
        await corpus.ingest(splitter=SMALL, batch_size=2, concurrency=1)
    corpus.sink.fail_at = None
    corpus.write("a.txt", "All new.")
    await corpus.ingest(splitter=SMALL)
    assert corpus.sink.texts() == ["All new."]


async def test_one_ingestion_at_a_time(corpus: Corpus) -> None:
    corpus.write("a.txt", "Alpha.")
    reached, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go.wait()

    corpus.sink.before_index = wait
    first = asyncio.create_task(corpus.ingest())
    await reached.wait()
    for dry_run in (False, True):
        with pytest.raises(GenkitError, match="Another ingestion is running") as caught:
            await corpus.ingest(dry_run=dry_run)
        assert caught.value.status == "FAILED_PRECONDITION"
    go.set()
    assert (await first).added == 1


async def test_a_damaged_manifest_says_what_to_do(corpus: Corpus) -> None:
    corpus.write("a.txt", "Alpha.")
    await corpus.ingest()
    (corpus.base / ".genkit_rag/ingest/default.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(GenkitError, match="Delete that file"):
        await corpus.ingest()


async def test_rows_keep_their_ids_and_identical_rows_are_one(corpus: Corpus) -> None:
    rows = ['{"id": "x1", "text": "one", "year": 1}', '{"text": "two"}', '{"text": "two"}', '{"text": "two", "n": 1}']
    corpus.write("a.jsonl", "\n".join(rows))
    report = await corpus.ingest(batch_size=1)
    assert report.chunks_added == 3
    assert any(id.startswith("docs/a.jsonl#x1#") for id in corpus.sink.documents)
    corpus.sink.embedded.clear()
    rows[0] = rows[0].replace('"year": 1', '"year": 2')
    corpus.write("a.jsonl", "\n".join(['{"text": "first"}', *rows]))
    await corpus.ingest()
    assert corpus.sink.embedded == ["first"]
    assert corpus.sink.refreshed == ["one"]


async def test_documents_are_ingested_by_their_source(corpus: Corpus) -> None:
    documents = [
        Document("Alpha one.", {"source": "u/a", "page": 1}),
        Document("Alpha two.", {"source": "u/a", "page": 2}),
        Document("# H\n\nBeta.", {"source": "u/b", "content_type": "text/markdown"}),
        Document("Gamma."),
        Document.from_media("data:image/png;base64,AAAA", "image/png", {"source": "u/m"}),
    ]
    report = await corpus.ingest((), documents=documents)
    assert (report.added, [problem.source for problem in report.failed]) == (3, ["u/m"])
    assert corpus.sink.texts("u/a") == ["Alpha one.", "Alpha two."]
    assert {tuple(doc.metadata.get("heading_path", ())) for doc in corpus.sink.documents.values()} == {(), ("H",)}
    corpus.sink.embedded.clear()
    documents[1] = Document("Alpha new.", {"source": "u/a", "page": 2})
    report = await corpus.ingest((), documents=iter(documents[:2]))
    assert corpus.sink.embedded == ["Alpha new."]
    assert (report.changed, report.removed) == (1, 0)
    assert (await corpus.ingest((), documents=documents[:2], prune=True)).removed == 2
    assert corpus.sink.sources() == {"u/a"}


async def test_documents_may_come_asynchronously(corpus: Corpus) -> None:
    async def produce() -> AsyncIterator[Document]:
        for number in range(300):
            await asyncio.sleep(0)
            yield Document(f"Document {number}.", {"source": f"s{number}"})

    assert (await corpus.ingest((), documents=produce())).added == 300

    async def never() -> AsyncIterator[Document]:
        yield Document("One.", {"source": "x"})
        await asyncio.Event().wait()

    stream = never()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(corpus.ingest((), documents=stream), 0.3)
    with contextlib.suppress(RuntimeError):
        await stream.aclose()


async def test_a_source_that_comes_back_is_reported_not_lost(corpus: Corpus) -> None:
    documents = [Document(text, {"source": source}) for text, source in (("1", "a"), ("2", "b"), ("3", "a"))]
    report = await corpus.ingest((), documents=documents)
    assert report.failed[0].source == "a"
    assert corpus.sink.texts() == ["1", "2"]


async def test_an_error_in_the_stream_of_documents_is_the_callers(corpus: Corpus) -> None:
    def produce() -> Any:
        yield Document("One.", {"source": "x"})
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        await corpus.ingest((), documents=produce())


async def test_progress_adds_up_to_the_report(corpus: Corpus) -> None:
    for number in range(10):
        corpus.write(f"{number}.txt", TEXT + str(number))
    corpus.write("bad.txt", b"\0")
    corpus.write("x.png", b"")
    events: list[Any] = []
    report = await corpus.ingest(splitter=SMALL, progress=events.append)
    assert events[0] == Started(11, sum(path.stat().st_size for path in corpus.folder.glob("*.txt")))
    assert events[-1] == Finished(report)
    assert sum(event.embedded for event in events if isinstance(event, ChunksDone)) == report.chunks_added == 60
    done = [event for event in events if isinstance(event, SourceDone)]
    assert sorted(event.status for event in done) == ["added"] * 10 + ["failed", "skipped"]
    assert sum(event.chunks for event in done) == report.chunks_added


async def test_batches_are_full_and_bounded(corpus: Corpus) -> None:
    sizes: list[int] = []

    class Measuring(MemorySink):
        async def index(self, documents: list[Document]) -> None:
            sizes.append(len(documents))
            await super().index(documents)

    for number in range(50):
        corpus.write(f"{number}.txt", TEXT + str(number))
    await corpus.ingest(sink=Measuring(), splitter=SMALL, batch_size=64)
    assert set(sizes[:-1]) == {64}
    assert sizes[-1] <= 64


async def test_a_folder_that_cannot_be_listed_is_reported_and_keeps_its_chunks(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write("a.txt", "Alpha.")
    corpus.write("locked/b.txt", "Beta.")
    corpus.write("gone.txt", "Gamma.")
    await corpus.ingest()
    (corpus.folder / "gone.txt").unlink()
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # this process may be root's, whom no permission stops
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = await corpus.ingest()
    assert [(problem.source, problem.reason) for problem in report.failed] == [
        ("docs/locked", "cannot be listed: Permission denied")
    ]
    assert corpus.sink.sources() == {"docs/a.txt", "docs/locked/b.txt"}
    assert report.removed == 1


async def test_a_newer_manifest_is_left_alone(corpus: Corpus) -> None:
    corpus.write("a.txt", "Alpha.")
    await corpus.ingest()
    with contextlib.closing(sqlite3.connect(corpus.base / ".genkit_rag/ingest/default.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(GenkitError, match="version 99 is newer"):
        await corpus.ingest()
