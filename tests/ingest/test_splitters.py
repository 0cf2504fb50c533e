"""What every splitter promises, whatever the text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from genkit_rag import Document, GenkitError
from genkit_rag.ingest import (
    CodeSplitter,
    SemanticSplitter,
    SentenceSplitter,
    Splitter,
    Splitters,
    TextSplitter,
    estimate_tokens,
    with_count,
)

from .conftest import Corpus
from .test_splitter import PIECES, check, halves, words

CODE = [
    "def f(a):\n    return a\n",
    "class A:\n    x = 1\n\n    def m(self):\n        pass\n",
    "# a comment\n",
    "@decorated\n",
    "if x:\n    y = [1, 2,\n         3]\n",
    '"""doc\nstring"""\n',
    "function g() { return 1; }\n",
    "}\n",
    "é = '漢字 👩'\n",
    "\t",
    "struct S { int x; };\n",
    "(((((",
    "x" * 90 + "\n",
]
SENTENCES = ["One thing. ", "Is it? ", "Dr. No came. ", "3.5 apples, e.g. red ones", "...and so on. ", "終わり。"]
TABLES = [
    "| a | b |\n| - | - |\n",
    "| 1 | 2 |\n" * 9,
    "| " + "long cell " * 9 + "| x |\n",
    "|\n",
    "  | i | j |\n",
    "| only | header |\r\n|---|---|\r\n",
]
texts = st.lists(st.sampled_from(PIECES + CODE + SENTENCES + TABLES) | st.text(max_size=20), max_size=40).map("".join)
languages = st.sampled_from(["", "python", "javascript", "c", "ruby", "klingon"])


def embed(texts: list[str]) -> list[list[float]]:
    return [
        [byte / 255 for byte in hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest()]
        for text in texts
    ]


MAKERS: dict[str, Callable[[int, Any], TextSplitter]] = {
    "structure": lambda size, count: Splitter(size, size // 4, count),
    "sentences": lambda size, count: SentenceSplitter(size=size, count=count),
    "overlapping sentences": lambda size, count: SentenceSplitter(overlap=2, size=size, count=count),
    "sentence by sentence": lambda size, count: SentenceSplitter(sentences=1, size=size, count=count),
    "three sentences": lambda size, count: SentenceSplitter(sentences=3, overlap=1, size=size, count=count),
    "code": lambda size, count: CodeSplitter(size=size, count=count),
    "semantic": lambda size, count: SemanticSplitter(embed, percentile=60, size=size, count=count),
    "by kind": lambda size, count: Splitters(
        Splitter(size, 0, count), SentenceSplitter(size=size, count=count), CodeSplitter(size, count)
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=150, deadline=None)
@given(
    text=texts,
    size=st.integers(1, 120),
    count=st.sampled_from([len, None, words, halves]),
    markdown=st.booleans(),
    language=languages,
)
def test_chunks_are_exact_complete_small_enough_and_the_same_again(
    kind: str, text: str, size: int, count: Any, markdown: bool, language: str
) -> None:
    splitter = MAKERS[kind](size, count)
    chunks = list(splitter.chunks(text, markdown=markdown, language=language))
    check(text, chunks)
    measure = count or estimate_tokens
    assert all(measure(chunk.prefix + chunk.text) <= size for chunk in chunks if len(chunk.text) > 1)
    assert chunks == list(MAKERS[kind](size, count).chunks(text, markdown=markdown, language=language))


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("text", ["", " \n\t ", "\u2028" * 3000])
def test_a_text_without_content_has_no_chunks(kind: str, text: str) -> None:
    for markdown in (False, True):
        for language in ("", "python"):
            splitter = MAKERS[kind](20, len)
            assert list(splitter.chunks(text, markdown=markdown, language=language)) == []


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "semantic"])
@pytest.mark.parametrize("unit", ["token ", "x", "(", "a. ", "\n", "...", "| a "])
def test_one_huge_line_is_cut_in_bounded_time(kind: str, unit: str) -> None:
    text = unit * (400_000 // len(unit)) + "end"
    for language in ("", "python"):
        chunks = list(MAKERS[kind](240, None).chunks(text, markdown=True, language=language))
        assert chunks[-1].end == len(text)


def test_a_line_of_five_million_tokens_is_cut_by_any_tokenizer() -> None:
    text = "token " * 5_000_000
    chunks = sum(1 for _ in Splitter(240, 32, lambda piece: piece.count(" ") + 1).chunks(text))
    assert 20_000 < chunks < 30_000


async def test_a_splitter_of_ones_own_may_be_used(corpus: Corpus) -> None:
    from genkit_rag.ingest import Chunk

    class Lines:
        settings = "lines 1"

        def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Any:
            start = 0
            for line in text.splitlines(keepends=True):
                if line.strip():
                    yield Chunk(line.strip(), start, start + len(line.strip()))
                start += len(line)

    corpus.write("a.txt", "one\ntwo\n\nthree")
    await corpus.ingest(splitter=Lines())
    assert corpus.sink.texts() == ["one", "two", "three"]
    assert (await corpus.ingest(splitter=Lines())).unchanged == 1
    assert (await corpus.ingest(splitter=SentenceSplitter())).changed == 1


def test_the_settings_tell_splitters_apart() -> None:
    made = [
        Splitter(),
        Splitter(100),
        Splitter(100, 32, len),
        SentenceSplitter(),
        SentenceSplitter(sentences=1),
        CodeSplitter(),
        CodeSplitter(100),
        SemanticSplitter(embed),
        SemanticSplitter(embed, embedder="other"),
        Splitters(),
        Splitters(code=CodeSplitter()),
        Splitters(code=CodeSplitter(100)),
        Splitters(markdown=SentenceSplitter()),
    ]
    assert len({splitter.settings for splitter in made}) == len(made)


def test_a_unit_is_given_to_those_that_have_none() -> None:
    given = with_count(Splitters(Splitter(50, 0, len), SentenceSplitter(), CodeSplitter()), words)
    assert [part.split("count=")[1] for part in given.settings.split("; ")] == ["len", "words", "words"]
    assert with_count(Splitter(), None) == Splitter()


def test_each_kind_of_text_gets_its_splitter() -> None:
    by_kind = Splitters(Splitter(20, 0, len), SentenceSplitter(sentences=1), CodeSplitter(20, len))
    prose = Document("One. Two.", {"content_type": "text/markdown"})
    code = Document("def f():\n    pass\n\n\ndef g():\n    pass\n", {"content_type": "text/x-python"})
    assert [document.text for document in by_kind.split(prose)] == ["One.", "Two."]
    assert [document.metadata["heading_path"] for document in by_kind.split(code)] == [["f"], ["g"]]
    assert [document.text for document in by_kind.split(Document("One. Two."))] == ["One. Two."]


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: SentenceSplitter(size=0), "size"),
        (lambda: SentenceSplitter(sentences=0), "sentences"),
        (lambda: SentenceSplitter(sentences=2, overlap=2), "overlap"),
        (lambda: SentenceSplitter(overlap=-1), "overlap"),
        (lambda: CodeSplitter(size=0), "size"),
        (lambda: SemanticSplitter(None), "embed"),  # type: ignore[arg-type]
        (lambda: SemanticSplitter(embed, percentile=float("nan")), "percentile"),
        (lambda: SemanticSplitter(embed, percentile=100), "percentile"),
        (lambda: SemanticSplitter(embed, window=0), "window"),
        (lambda: SemanticSplitter(embed, batch_size=0), "batch_size"),
    ],
)
def test_impossible_settings_are_refused_by_name(make: Callable[[], Any], argument: str) -> None:
    with pytest.raises(GenkitError, match=f"`{argument}`") as caught:
        make()
    assert caught.value.status == "INVALID_ARGUMENT"
