from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from genkit_rag.ingest import SentenceSplitter, sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["One.", "Two!", "Three?", "Four"],
        ["Dr. Smith met Prof. Jones, Mr. and Mrs. Fox.", "They left."],
        ["It costs 3.50 euro, e.g. here, i.e. not much.", "Good."],
        ["J. R. R. Tolkien wrote it.", "C. S. Lewis read it."],
        ["See Fig. 3 and No. 5 on p. 12.", "Done."],
        ["I said no.", "Then I left."],
        ["He lives in the U.S.", "The house is small."],
        ["The U.S. Army came at 5 p.m. and left.", "At 6 p.m.", "The gates closed."],
        ["Apples, pears, etc.", "The rest is free."],
        ['He asked: "Why?" and went.', '"Because."', "She smiled."],
        ['"Is it you?" he said.', "(It was.)", "Good."],
        ["Wait... what is it?", "Nothing…", "Or so."],
        ["Really?!", "Yes!!!", "No."],
        ["第一文です。", "第二文！", "「第三文。」", "続き"],
        ["中文句子。", "Second, in English."],
        ["Version 1.2.3 is out.", "Get it at example.com today."],
        ["Das kostet z.B. 5 Euro.", "Siehe S. Meyer."],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_empty_lines_and_list_items_end_a_sentence_without_a_mark() -> None:
    text = "A title\n\nFirst line\nof a paragraph\n\n- one\n- two\n1. First\n2. Second"
    assert sentences(text) == ["A title", "First line\nof a paragraph", "- one", "- two", "1. First", "2. Second"]


@given(st.text(alphabet="aB .!?…\"')\n。」1-", max_size=200))
def test_sentences_cover_the_text_in_order(text: str) -> None:
    covered, last = 0, 0
    for start, end in sentence_spans(text):
        assert last <= start < end
        assert not text[last:start].strip()
        assert text[start:end] == text[start:end].strip()
        covered, last = covered + end - start, end
    assert not text[last:].strip()


def test_whole_sentences_are_packed_up_to_the_size() -> None:
    text = "One two. Three four. Five six. Seven eight."
    chunks = [chunk.text for chunk in SentenceSplitter(size=21, count=len).chunks(text)]
    assert chunks == ["One two. Three four.", "Five six.", "Seven eight."]
    overlapping = [chunk.text for chunk in SentenceSplitter(overlap=1, size=30, count=len).chunks(text)]
    assert overlapping == ["One two. Three four. Five six.", "Five six. Seven eight."]
    each = [chunk.text for chunk in SentenceSplitter(sentences=1).chunks(text)]
    assert each == ["One two.", "Three four.", "Five six.", "Seven eight."]


def test_a_sentence_that_is_too_long_is_cut_at_its_words() -> None:
    text = f"Short one. Many {'words more ' * 20}end. Short two."
    chunks = [chunk.text for chunk in SentenceSplitter(size=60, count=len).chunks(text)]
    assert chunks[0] == "Short one."
    assert chunks[-1] == "Short two."
    assert all(chunk.split(" ")[0] in ("Many", "words", "more", "Short") for chunk in chunks)


def test_in_markdown_headings_begin_chunks_and_blocks_stay_whole() -> None:
    text = (
        "# Guide\n\n## Install\n\nRun it. Then wait.\n\n```sh\nrun. This is code. It stays.\n```\n\n"
        "## Use\n\nCall it. | no table\n\n| a | b |\n| - | - |\n| 1. x | 2 |\n"
    )
    chunks = list(SentenceSplitter(sentences=2).chunks(text, markdown=True))
    assert [(chunk.heading_path, chunk.text) for chunk in chunks] == [
        (("Guide", "Install"), "# Guide\n\n## Install\n\nRun it. Then wait."),
        (("Guide", "Install"), "```sh\nrun. This is code. It stays.\n```"),
        (("Guide", "Use"), "## Use\n\nCall it. | no table"),
        (("Guide", "Use"), "| a | b |\n| - | - |\n| 1. x | 2 |"),
    ]
