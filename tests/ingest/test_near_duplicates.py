"""Near duplicates are held back, and come back when what they were held back for goes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from genkit_rag import Document, GenkitError
from genkit_rag._ingest.near_duplicates.similarity import similarity, sketch
from genkit_rag.ingest import IngestOptions, IngestReport, IngestStopped, Splitter, ingest

from .conftest import Corpus, MemorySink

SENTENCE = "the quick brown fox jumps over a lazy dog while nine tall birds watch from their warm nest and sing"
WORDS = SENTENCE.split()
BASE = " ".join(WORDS * 2)
NEARLY = BASE + " loudly"
OTHER = "An entirely different text about the price of coal in the winter of a cold year, and of bread."
OPTIONS = {"splitter": Splitter(400, 0, len), "near_duplicates": 0.8}
GOLDEN = ("433290bd82f386d451d53ee6", (906982010961514421, -8526516090249454888))


def shingles(text: str) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.lower())
    return {tuple(found[at : at + 3]) for at in range(max(len(found) - 2, 1))}


def jaccard(one: str, other: str) -> float:
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), st.lists(st.sampled_from(WORDS), min_size=1, max_size=60)
)
def test_the_similarity_is_the_share_of_common_shingles(one: list[str], other: list[str]) -> None:
    first, second = " ".join(one), " ".join(other)
    assert similarity(sketch(first).shingles, sketch(second).shingles) == pytest.approx(jaccard(first, second))


def test_a_sketch_is_the_same_in_every_process_and_release() -> None:
    found = sketch("Near duplicates share their buckets.")
    assert found.shingles.hex() == GOLDEN[0]
    assert found.buckets[:2] == GOLDEN[1]
    assert sketch("near duplicates: SHARE their buckets") == found


def test_alike_texts_share_a_bucket() -> None:
    words = [f"word{number}" for number in range(200)]
    missed = 0
    for changed in range(100):
        twin = [*words]
        twin[changed] = "other"  # similarity (198 - 3) / (198 + 3) = 0.97
        missed += not set(sketch(" ".join(words)).buckets) & set(sketch(" ".join(twin)).buckets)
    assert missed == 0
    assert not set(sketch(BASE).buckets) & set(sketch(OTHER).buckets)


async def test_a_near_duplicate_is_not_embedded_and_the_report_names_its_original(corpus: Corpus) -> None:
    corpus.write("a.txt", BASE)
    corpus.write("b.txt", NEARLY)
    corpus.write("c.txt", OTHER)
    report = await corpus.ingest(**OPTIONS)
    assert sorted(corpus.sink.embedded) == sorted([BASE, OTHER])
    assert (report.added, report.chunks_added, report.chunks_duplicate) == (3, 2, 1)
    [duplicate] = report.duplicates
    assert duplicate.source == "docs/b.txt"
    assert corpus.sink.documents[duplicate.original].metadata["source"] == "docs/a.txt"
    assert duplicate.similarity == pytest.approx(jaccard(BASE, NEARLY))
    again = await corpus.ingest(**OPTIONS)
    assert (again.unchanged, again.chunks_added, again.chunks_duplicate) == (3, 0, 0)


async def test_an_exact_duplicate_under_another_source_is_embedded_unless_it_is_asked_for(corpus: Corpus) -> None:
    corpus.write("a.txt", BASE)
    corpus.write("b.txt", BASE)
    assert (await corpus.ingest(splitter=OPTIONS["splitter"])).chunks_added == 2
    assert corpus.sink.sources() == {"docs/a.txt", "docs/b.txt"}
    (corpus.folder / "c.txt").write_text(BASE)
    assert (await corpus.ingest(**OPTIONS)).chunks_duplicate == 1  # a and b are indexed, and stay


@pytest.mark.parametrize("change", ["removed", "changed"])
async def test_a_duplicate_comes_back_when_its_original_goes(corpus: Corpus, change: str) -> None:
    corpus.write("a.txt", BASE)
    corpus.write("b.txt", NEARLY)
    await corpus.ingest(**OPTIONS)
    assert corpus.sink.texts() == [BASE]
    if change == "removed":
        (corpus.folder / "a.txt").unlink()
    else:
        corpus.write("a.txt", OTHER)
    report = await corpus.ingest(**OPTIONS)
    assert NEARLY in corpus.sink.texts("docs/b.txt")
    assert report.chunks_added == (1 if change == "removed" else 2)
    corpus.sink.embedded.clear()
    assert (await corpus.ingest(**OPTIONS)).chunks_added == 0
    assert corpus.sink.embedded == []


async def test_of_several_duplicates_one_comes_back_and_stands_for_the_others(corpus: Corpus) -> None:
    for number, text in enumerate([BASE, NEARLY, NEARLY + " today", NEARLY]):
        corpus.write(f"{number}.txt", text)
    await corpus.ingest(**OPTIONS)
    assert corpus.sink.texts() == [BASE]
    (corpus.folder / "0.txt").unlink()
    await corpus.ingest(**OPTIONS)
    assert corpus.sink.sources() == {"docs/1.txt"}
    (corpus.folder / "1.txt").unlink()
    await corpus.ingest(**OPTIONS)
    assert corpus.sink.sources() == {"docs/2.txt"}


async def test_a_duplicate_comes_back_although_its_source_is_not_given_again(corpus: Corpus) -> None:
    await corpus.ingest((), documents=[Document(BASE, {"source": "a"})], **OPTIONS)
    held_back = Document(NEARLY, {"source": "b", "tags": ["x"]})
    assert (await corpus.ingest((), documents=[held_back], **OPTIONS)).chunks_duplicate == 1
    await corpus.ingest((), documents=[Document(OTHER, {"source": "a"})], **OPTIONS)
    [found] = [document for document in corpus.sink.documents.values() if document.metadata["source"] == "b"]
    assert (found.text, found.metadata["tags"]) == (NEARLY, ["x"])


async def test_turning_it_off_brings_all_back(corpus: Corpus) -> None:
    corpus.write("a.txt", BASE)
    corpus.write("b.txt", NEARLY)
    await corpus.ingest(**OPTIONS)
    report = await corpus.ingest(splitter=OPTIONS["splitter"])
    assert (report.chunks_added, report.chunks_kept) == (1, 1)
    assert corpus.sink.texts() == [BASE, NEARLY]


async def test_a_lost_manifest_leaves_what_the_index_has(corpus: Corpus) -> None:
    corpus.write("a.txt", BASE)
    corpus.write("b.txt", NEARLY)
    await corpus.ingest(splitter=OPTIONS["splitter"])
    shutil.rmtree(corpus.base / ".genkit_rag")
    report = await corpus.ingest(**OPTIONS)
    assert (report.chunks_added, report.chunks_kept, report.chunks_duplicate) == (0, 2, 0)
    (corpus.folder / "a.txt").unlink()
    await corpus.ingest(**OPTIONS)
    assert corpus.sink.texts() == [NEARLY]


@pytest.mark.parametrize("threshold", [0.5, 1.1, float("nan")])
def test_a_similarity_out_of_range_is_refused_by_name(threshold: float) -> None:
    with pytest.raises(GenkitError, match="`near_duplicates`"):
        IngestOptions(near_duplicates=threshold)


variants = st.builds(
    lambda base, extra: " ".join([*base, *extra]),
    st.sampled_from([WORDS, WORDS[::-1]]),
    st.lists(st.sampled_from(["one", "two", "three"]), max_size=3),
)
texts = st.lists(variants, max_size=3).map("\n\n".join)
names = st.sampled_from(["a.txt", "b.txt", "c.txt", "sub/d.txt"])
given_names = st.sampled_from(["u", "v"])


class Histories(RuleBasedStateMachine):
    """Whatever happened before: after a run that ends, every chunk is in the index, or one that is nearly the same."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        (self.base / "docs").mkdir()
        self.sink = MemorySink()
        self.given: dict[str, str] = {}
        self.runs = 0

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    def ingest(
        self, sink: MemorySink, name: str = "main", *, near: float | None = 0.8, documents: list[Document] | None = None
    ) -> IngestReport:
        options = IngestOptions(
            base=self.base, name=name, splitter=Splitter(100, 0, len), batch_size=2, near_duplicates=near
        )
        return asyncio.run(ingest("docs", sink=sink, documents=documents, options=options))

    def check(self) -> None:
        self.runs += 1
        fresh = MemorySink()
        documents = [Document(text, {"source": source}) for source, text in self.given.items()]
        self.ingest(fresh, f"fresh{self.runs}", near=None, documents=documents)
        for id, document in self.sink.documents.items():
            assert fresh.documents[id].to_wire() == document.to_wire()
        for id, document in fresh.documents.items():
            best = max((jaccard(document.text, held.text) for held in self.sink.documents.values()), default=0)
            assert id in self.sink.documents or best >= 0.8

    def change(self, files: dict[str, str], gone: set[str]) -> None:
        for name, text in files.items():
            (self.base / "docs" / name).parent.mkdir(exist_ok=True)
            (self.base / "docs" / name).write_text(text)
        for name in gone:
            (self.base / "docs" / name).unlink(missing_ok=True)

    @rule(files=st.dictionaries(names, texts, min_size=1), gone=st.sets(names))
    def change_and_ingest(self, files: dict[str, str], gone: set[str]) -> None:
        self.change({**files, "kept.txt": "A file that stays."}, gone)
        self.ingest(self.sink)
        self.check()
        self.sink.embedded.clear()
        self.ingest(self.sink)
        assert self.sink.embedded == []

    @rule(source=given_names, text=texts)
    def give(self, source: str, text: str) -> None:
        self.change({"kept.txt": "A file that stays."}, set())
        self.given[source] = text
        self.ingest(self.sink, documents=[Document(text, {"source": source})])
        self.check()

    @rule(files=st.dictionaries(names, texts, min_size=1), gone=st.sets(names), at=st.integers(1, 4))
    def fail(self, files: dict[str, str], gone: set[str], at: int) -> None:
        self.change({**files, "kept.txt": "A file that stays."}, gone)
        self.sink.calls, self.sink.fail_at = 0, at
        with contextlib.suppress(IngestStopped):
            self.ingest(self.sink)
            self.check()
        self.sink.fail_at = None

    @rule(source=given_names, text=texts, at=st.integers(1, 3))
    def fail_at_a_given_one(self, source: str, text: str, at: int) -> None:
        self.change({"kept.txt": "A file that stays."}, set())
        self.sink.calls, self.sink.fail_at = 0, at
        with contextlib.suppress(IngestStopped):
            self.ingest(self.sink, documents=[Document(text, {"source": source})])
        self.sink.fail_at = None
        self.given[source] = text
        self.ingest(self.sink, documents=[Document(text, {"source": source})])
        self.check()

    @rule()
    def turn_off_and_on(self) -> None:
        self.change({"kept.txt": "A file that stays."}, set())
        self.ingest(self.sink, near=None)
        self.ingest(self.sink)
        self.check()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=8, deadline=None)
