from __future__ import annotations

import io
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from genkit_rag._ingest.pieces import pieces
from genkit_rag.ingest import Loaders, Section, Splitter

from .conftest import Corpus


@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 50))
def test_pieces_are_the_text_with_its_offsets(text: str, size: int) -> None:
    found = list(pieces(io.StringIO(text, newline=""), size))
    assert "".join(piece for _, piece in found) == text
    assert [offset for offset, _ in found] == [sum(len(p) for _, p in found[:at]) for at in range(len(found))]
    assert all(0 < len(piece) <= size for _, piece in found)
    assert len(found) <= 1 or len(text) > size


def test_a_piece_ends_at_an_empty_line_where_there_is_one() -> None:
    text = "one two\n\nthree four\nfive six seven"
    found = [piece for _, piece in pieces(io.StringIO(text), 12)]
    assert found == ["one two\n", "\nthree four\n", "five six ", "seven"]


async def test_chunks_of_a_text_in_pieces_count_from_its_beginning(corpus: Corpus) -> None:
    def load(path: Any, context: Any) -> Any:
        with path.open(newline="") as file:
            for offset, text in pieces(file, 100):
                yield Section(text, offset=offset)

    loaders = Loaders()
    loaders.register(".big", load)
    text = "\n\n".join(f"Paragraph {number % 3} of a long text." for number in range(40))
    corpus.write("a.big", text)
    await corpus.ingest(loaders=loaders, splitter=Splitter(40, 0, len))
    documents = sorted(corpus.sink.documents.values(), key=lambda document: int(document.metadata["chunk"]))
    assert len(documents) == 40
    assert [document.metadata["chunk"] for document in documents] == list(range(40))
    for document in documents:
        assert text[document.metadata["start"] : document.metadata["end"]] == document.text
