from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from genkit_rag import Document
from genkit_rag._core.errors import GenkitError
from genkit_rag.ingest import Chunk, Splitter, estimate_tokens, split_text

from .conftest import Corpus

PIECES = [
    "word",
    "longer words here",
    "A sentence. ",
    "Why? ",
    "\n",
    "\n\n",
    "\r\n",
    "\r\n\r\n",
    "\t",
    "  ",
    "# Head\n",
    "## Sub\n\n",
    "Title\n=====\n",
    "```py\n# code\nx = 1\n```\n",
    "```\nopen",
    "~~~\n",
    "| a | b |\n| - | - |\n| 1 | 2 |\n",
    "x" * 40,
    "漢字の文。",
    "多、",
    "e\u0301" * 5,
    "👩‍👩‍👧",
    "\u00a0",
    "\u2028",
    "\0",
    "---\ntitle: t\n---\n",
    "- item\n",
    "\ud800",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=40).map("".join)
sizes = st.integers(1, 120).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def words(text: str) -> int:
    return len(text.split())


def halves(text: str) -> int:
    """A unit that is neither additive nor proportional to the length."""
    return sum(2 if ord(character) > 127 else 1 for character in text) // 2


def check(text: str, chunks: list[Chunk]) -> None:
    covered = bytearray(len(text))
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text.strip()
        assert chunk.text == chunk.text.strip()
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    assert all(covered[number] or character.isspace() for number, character in enumerate(text))
    starts = [chunk.start for chunk in chunks]
    ends = [chunk.end for chunk in chunks]
    assert starts == sorted(set(starts))
    assert ends == sorted(ends)


@given(texts, sizes, st.booleans())
@example("# A\n\n# B\n\n" * 9, (20, 19), True)
def test_chunks_of_characters_are_exact_complete_and_small_enough(
    text: str, size: tuple[int, int], markdown: bool
) -> None:
    chunks = split_text(text, *size, markdown=markdown)
    check(text, chunks)
    assert all(len(chunk.text) <= size[0] for chunk in chunks)
    assert chunks == split_text(text, *size, markdown=markdown)


@given(texts, sizes, st.booleans(), st.sampled_from([words, halves, estimate_tokens]))
def test_chunks_of_any_unit_are_exact_complete_and_small_enough(
    text: str, size: tuple[int, int], markdown: bool, count: object
) -> None:
    chunks = split_text(text, *size, count=count, markdown=markdown)  # type: ignore[arg-type]
    check(text, chunks)
    assert all(count(chunk.text) <= size[0] for chunk in chunks if len(chunk.text) > 1)  # type: ignore[operator]


@given(texts, sizes)
def test_the_default_unit_is_the_estimate_of_tokens(text: str, size: tuple[int, int]) -> None:
    chunks = list(Splitter(*size).chunks(text))
    check(text, chunks)
    assert all(estimate_tokens(chunk.text) <= size[0] for chunk in chunks if len(chunk.text) > 1)


@given(st.lists(st.sampled_from(["alpha beta", "gamma delta. ", "x y z"]), min_size=30, max_size=60).map("\n".join))
def test_consecutive_chunks_of_prose_overlap(text: str) -> None:
    chunks = split_text(text, 100, 30)
    for before, after in pairwise(chunks):
        assert 0 < before.end - after.start <= 30


def test_one_word_of_five_million_characters_is_cut() -> None:
    chunks = split_text("x" * 5_000_000, 1000, 200)
    assert chunks[-1].end == 5_000_000
    assert len(chunks) < 6300


@pytest.mark.parametrize("text", ["", " \n\t ", "\u2028" * 5000])
def test_a_text_without_content_has_no_chunks(text: str) -> None:
    assert split_text(text) == []
    assert list(Splitter().chunks(text, markdown=True)) == []


def test_a_window_is_cut_at_the_best_boundary_in_it() -> None:
    text = "one two three four. five six\nseven eight\n\nnine ten eleven twelve thirteen"
    assert [c.text for c in split_text(text, 45, 0)] == [text[:41].strip(), "nine ten eleven twelve thirteen"]
    assert split_text(text, 30, 0)[0].text == "one two three four."
    assert split_text("one two three\nfour five six", 24, 0)[0].text == "one two three"
    assert split_text("one two three", 9, 0)[0].text == "one two"
    assert split_text("第一文。第二文。第三文", 9, 0)[0].text == "第一文。第二文。"


def test_windows_line_ends_make_the_same_chunks() -> None:
    text = "First paragraph here.\n\nSecond one, longer.\n\nThird and last paragraph."
    unix = split_text(text, 30, 0)
    windows = split_text(text.replace("\n", "\r\n"), 30, 0)
    assert [c.text for c in windows] == [c.text for c in unix]


def test_a_character_is_never_cut_from_its_marks() -> None:
    text = "e\u0301" * 300
    assert all(chunk.text[0] == "e" for chunk in split_text(text, 51, 0))


def test_chunks_stand_under_their_headings() -> None:
    text = (
        "# Guide\n\n## Install\n\n"
        + "Run the installer now. " * 5
        + "\n\n## Use\n\n"
        + "Call the function. " * 5
        + "\n\n### Deep ##\n\n"
        + "Deeper still. " * 6
        + "\n\nOther\n-----\n\n"
        + "Under a line. " * 6
    )
    chunks = split_text(text, 160, 30, markdown=True)
    assert [chunk.heading_path for chunk in chunks] == [
        ("Guide", "Install"),
        ("Guide", "Use"),
        ("Guide", "Use", "Deep"),
        ("Guide", "Other"),
    ]
    assert chunks[1].text.startswith("## Use")


def test_a_hash_in_code_or_in_a_front_matter_is_no_heading() -> None:
    text = "---\ntitle: x\n---\n# Real\n\n```sh\n# a comment\n```\n\ntext\n\n~~~\n# another\nnever closed"
    assert {chunk.heading_path for chunk in split_text(text, 1000, 0, markdown=True)} == {("Real",)}


def test_a_fence_and_a_table_stay_whole_when_they_fit() -> None:
    fence = "```py\n" + "call(x)\n" * 10 + "```\n"
    table = "| a | b |\n| - | - |\n" + "| 1 | 2 |\n" * 8
    prose = "Some words of prose. " * 4
    text = f"{prose}\n\n{fence}\n{prose}\n\n{table}\n{prose}"
    chunks = [chunk.text for chunk in split_text(text, 150, 20, markdown=True)]
    assert any(fence.strip() in chunk for chunk in chunks)
    assert any(table.strip() in chunk for chunk in chunks)


def test_a_fence_that_does_not_fit_is_cut_at_its_lines() -> None:
    text = "```py\n" + "value = call(argument)  # why. not\n" * 20 + "```"
    chunks = split_text(text, 200, 0, markdown=True)
    assert len(chunks) > 1
    assert all(chunk.text.endswith(("# why. not", "```")) for chunk in chunks)


def test_no_text_is_repeated_across_a_heading() -> None:
    text = "# A\n\n" + "First part. " * 10 + "\n\n# B\n\n" + "Second part. " * 10
    chunks = split_text(text, 200, 50, markdown=True)
    assert [chunk.text[:3] for chunk in chunks] == ["# A", "# B"]


@pytest.mark.parametrize(
    ("size", "overlap", "argument"), [(0, 0, "size"), (10, 10, "overlap"), (10, 11, "overlap"), (10, -1, "overlap")]
)
def test_impossible_sizes_are_refused_by_name(size: int, overlap: int, argument: str) -> None:
    with pytest.raises(GenkitError, match=f"`{argument}`") as caught:
        split_text("text", size, overlap)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_a_split_document_has_chunks_with_ids_that_outlive_changes_elsewhere() -> None:
    splitter = Splitter(60, 0, len)
    paragraphs = [f"Paragraph number {number} says something of its own." for number in range(5)]
    before = list(splitter.split(Document("\n\n".join(paragraphs), {"source": "a", "lang": "en"})))
    paragraphs[2] = "A new thought."
    after = list(splitter.split(Document("\n\n".join(paragraphs), {"source": "a", "lang": "en"})))
    assert [document.metadata["chunk"] for document in before] == [0, 1, 2, 3, 4]
    assert before[1].metadata["lang"] == "en"
    assert [a.id == b.id for a, b in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert {document.id.split("#")[0] for document in before} == {"a"}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["same text here", "other text"]), max_size=12))
def test_repeated_text_has_ids_of_its_own(lines: list[str]) -> None:
    documents = list(Splitter(16, 0, len).split(Document("\n\n".join(lines), {"source": "s"})))
    assert len({document.id for document in documents}) == len(documents)


TABLE_HEAD = "| plan | price |\n| --- | --: |\n"


def table(rows: int, width: int = 10) -> str:
    return TABLE_HEAD + "".join(f"| plan {number} | {'x' * width} |\n" for number in range(rows))


UNITS = [len, None, words, halves]


@pytest.mark.parametrize("count", UNITS)
def test_a_table_that_does_not_fit_repeats_its_header_before_whole_rows(count: Callable[[str], int] | None) -> None:
    text = f"# Prices\n\nSome words.\n\n{table(40)}\nBehind it. And more words of prose."
    size = {len: 150, None: 40, words: 40, halves: 75}[count]
    chunks = list(Splitter(size, size // 8, count).chunks(text, markdown=True))
    check(text, chunks)
    measure = count or estimate_tokens
    assert all(measure(chunk.prefix + chunk.text) <= size for chunk in chunks)
    rows = [line for chunk in chunks for line in chunk.text.split("\n") if line.startswith("| plan ")]
    body = [line for line in text.split("\n") if line.startswith("| plan ") and "price" not in line]
    assert [row for row in rows if "price" not in row] == body
    assert all(chunk.prefix == TABLE_HEAD for chunk in chunks[1:] if chunk.text.startswith("| plan"))
    assert chunks[0].prefix == ""
    assert {chunk.heading_path for chunk in chunks} == {("Prices",)}


@settings(max_examples=300)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(0, 60),
    st.integers(20, 160),
    st.integers(0, 40),
    st.sampled_from(UNITS),
)
def test_a_row_that_fits_is_never_cut(
    widths: list[int], lead: int, size: int, overlap: int, count: Callable[[str], int] | None
) -> None:
    rows = [f"| {'word ' * (width // 5)}{'x' * (width % 5)}| |" for width in widths]
    text = "pad " * lead + "\n\n" + TABLE_HEAD + "\n".join(rows) + "\n\nafter " + "pad " * lead
    measure = count or estimate_tokens
    chunks = list(Splitter(size, min(overlap, size - 1), count).chunks(text, markdown=True))
    check(text, chunks)
    assert all(measure(chunk.prefix + chunk.text) <= size for chunk in chunks)
    edges = {edge for chunk in chunks for edge in (chunk.start, chunk.end)}
    start = text.index(TABLE_HEAD) + len(TABLE_HEAD)
    for row in rows:
        if measure(row) <= size:
            assert not any(start < edge < start + len(row.rstrip()) for edge in edges)
        start += len(row) + 1


def test_a_chunk_of_several_sections_stands_under_what_they_have_in_common() -> None:
    [chunk] = split_text("# Guide\n\n## One\n\nShort.\n\n## Two\n\nThe second.", 300, 0, markdown=True)
    assert chunk.heading_path == ("Guide",)
    [preamble] = split_text("Before.\n\n# Guide\n\nBody.", 200, 0, markdown=True)
    assert preamble.heading_path == ()
    [leading] = split_text("# Guide\n\n## One\n\n### Deep\n\nBody.", 200, 0, markdown=True)
    assert leading.heading_path == ("Guide", "One", "Deep")


async def test_a_document_begins_with_the_header_and_its_offsets_are_those_of_the_rows(corpus: Corpus) -> None:
    text = f"# Prices\n\n{table(30)}"
    corpus.write("a.md", text)
    await corpus.ingest(splitter=Splitter(150, 20, len))
    documents = sorted(corpus.sink.documents.values(), key=lambda document: int(document.metadata["chunk"]))
    assert len(documents) > 3
    for document in documents[1:]:
        assert document.text.startswith(TABLE_HEAD)
        repeated = document.metadata["prefix"]
        assert document.text[repeated:] == text[document.metadata["start"] : document.metadata["end"]]
    assert "prefix" not in documents[0].metadata


def test_text_without_sentences_is_cut_at_its_lines() -> None:
    text = "\n".join(f"line {number} with a few words" for number in range(40))
    chunks = split_text(text, 100, 0)
    assert len(chunks) > 5
    assert all(f"{chunk.text}\n" in f"{text}\n" for chunk in chunks)
    assert all(chunk.text.startswith("line ") and chunk.text.endswith("words") for chunk in chunks)


def test_a_sentence_end_goes_before_a_line_end_and_a_paragraph_before_both() -> None:
    sentence = "alpha beta gamma delta. epsilon\nzeta eta theta iota kappa lambda mu nu"
    assert split_text(sentence, 40, 0)[0].text == "alpha beta gamma delta."
    paragraph = "alpha beta gamma delta omega\n\nzeta. eta theta iota kappa lambda mu nu xi"
    assert split_text(paragraph, 40, 0)[0].text == "alpha beta gamma delta omega"
