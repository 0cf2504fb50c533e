"""Documents: content, ids, equality and the wire."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from genkit_rag.plugin_api import Document, GenkitError, Media, Part, RetrieverResponse, ToolRequest, to_document

RESERVED = {"id", "score", "rank", "retriever", "scores"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
metadatas = st.dictionaries(st.text(max_size=6).filter(lambda key: key not in RESERVED), json_values, max_size=4)
parts = st.builds(Part, text=st.text(max_size=10), metadata=st.none() | metadatas) | st.builds(
    Part, media=st.builds(Media, url=st.text(max_size=10), content_type=st.none() | st.text(max_size=5))
)
contents = st.text(max_size=20) | st.lists(parts, max_size=3)


# -- content


def test_content_is_text_a_part_or_a_list_of_parts() -> None:
    picture = Part(media=Media(url="data:image/png;base64,AA", content_type="image/png"))
    assert Document("hi").content == Document(Part(text="hi")).content == Document([Part(text="hi")]).content
    both = Document([Part(text="a"), picture, Part(text="b")])
    assert (both.text, both.data, both.data_type, both.is_text) == ("ab", "ab", "text", False)
    assert [medium.content_type for medium in both.media] == ["image/png"]
    only = Document(picture)
    assert (only.text, only.data, only.data_type) == ("", "data:image/png;base64,AA", "image/png")
    empty = Document("")
    assert (empty.data, empty.data_type, empty.is_text) == ("", None, True)


def test_the_constructors_say_what_they_make() -> None:
    assert Document.from_text("a", {"n": 1}, id="x") == Document("a", {"n": 1}, id="x")
    assert Document.from_data("a") == Document("a")
    assert Document.from_data("u", "image/png") == Document.from_media("u", "image/png")
    document = Document("a")
    assert to_document(document) is document
    assert to_document("a") == document


def test_a_part_that_is_neither_text_nor_media_is_refused() -> None:
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT: `content`"):
        Document(Part(tool_request=ToolRequest(name="x")))


# -- ids


@given(contents, metadatas)
def test_equal_content_has_the_same_id_however_it_is_held(content: Any, metadata: dict[str, Any]) -> None:
    first, second = Document(content, metadata), Document(content, dict(reversed(metadata.items())))
    assert first.content is not None  # turns text into parts
    first.to_wire()
    assert first.id == second.id == Document.from_wire(Document(content, metadata).to_wire()).id
    assert len(first.id) == 32


def test_other_content_or_metadata_has_another_id() -> None:
    ids = {
        Document(content, metadata).id
        for content in ("a", "b", [Part(text="a"), Part(text="")], Part(media=Media(url="a")))
        for metadata in ({}, {"n": 1}, {"n": "1"}, {"n": True})
    }
    assert len(ids) == 16


def test_ids_are_the_same_in_every_process() -> None:
    code = "from genkit_rag import Document; print(Document('ünï', {'b': [1], 'a': None}).id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Document("ünï", {"a": None, "b": [1]}).id


def test_a_given_id_stays() -> None:
    assert Document("a", id="mine").id == "mine"
    assert Document("a", id="mine").content_hash == Document("a").id


# -- copies and equality


def test_a_copy_has_its_own_metadata_and_scores() -> None:
    document = Document("a", {"n": 1}, score=0.5)
    document.scores = {"bm25": 1.0}
    twin = document.copy(score=0.9, id="other")
    twin.metadata["n"] = 2
    assert twin.scores is not None
    twin.scores["bm25"] = 2.0
    assert (document.metadata, document.scores, document.score) == ({"n": 1}, {"bm25": 1.0}, 0.5)
    assert (twin.id, twin.score, twin.text) == ("other", 0.9, "a")
    with pytest.raises(AttributeError):
        document.copy(scor=1)


def test_metadata_that_was_given_is_not_shared() -> None:
    given_metadata = {"n": 1}
    Document("a", given_metadata).metadata["n"] = 2
    assert given_metadata == {"n": 1}


def test_documents_are_equal_when_content_metadata_id_and_score_are() -> None:
    assert Document("a", {"n": 1}) == Document([Part(text="a")], {"n": 1})
    assert len({Document("a"), Document("a"), Document("b")}) == 2
    assert Document("a") != Document("a", score=1.0)
    assert Document("a", id="x") != Document("a", id="y")
    assert Document("a") != "a"


# -- the wire


@given(
    content=contents,
    metadata=metadatas,
    id=st.none() | st.text(min_size=1, max_size=5),
    score=st.none() | st.floats(allow_nan=False),
    rank=st.none() | st.integers(0, 99),
    retriever=st.none() | st.text(max_size=5),
    scores=st.none() | st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), min_size=1, max_size=2),
)
def test_the_wire_brings_everything_back(content: Any, metadata: Any, id: Any, score: Any, **more: Any) -> None:
    document = Document(content, metadata, id=id, score=score)
    for name, value in more.items():
        setattr(document, name, value)
    wire = document.to_wire()
    back = Document.from_wire(wire)
    assert back == document
    assert back.metadata == document.metadata
    for name in ("score", "rank", "retriever", "scores", "id"):
        assert getattr(back, name) == getattr(document, name)
    assert back.to_wire() == document.to_wire()


def test_on_the_wire_a_plain_document_has_content_only() -> None:
    assert Document("a").to_wire() == {"content": [{"text": "a"}]}
    assert Document("a", {"n": None}).to_wire() == {"content": [{"text": "a"}], "metadata": {"n": None}}
    assert Document("a", score=0.5).to_wire()["metadata"] == {"score": 0.5}


def test_metadata_that_only_looks_like_a_score_stays_metadata() -> None:
    odd = {"score": "high", "rank": "first", "id": 7, "retriever": 1, "scores": [1]}
    assert Document.from_wire({"content": [{"text": "a"}], "metadata": odd}).metadata == odd
    flags = {"score": True, "rank": False}
    assert Document.from_wire({"content": [{"text": "a"}], "metadata": flags}).metadata == flags


def test_a_string_is_a_document_on_the_wire() -> None:
    assert TypeAdapter(Document).validate_python("a") == Document("a")


def test_wrong_wire_data_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[Document]).validate_python([{"content": [{"text": "a"}]}, {"content": [{"text": 1}]}])
    assert caught.value.errors()[0]["loc"] == (1, "content", 0, "text")


def test_how_a_document_is_shown_is_short_and_escaped() -> None:
    document = Document("<b>" + "x" * 100, score=0.5)
    assert len(repr(document)) < 160
    assert "score=0.5000" in repr(document)
    assert "<b>" not in document._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_what_a_notebook_shows_of_a_response_is_escaped_and_short() -> None:
    found = RetrieverResponse([Document("<b>" + "x" * 9000, {"n": "<i>" + "y" * 9000})] * 60, ["EMPTY_QUERY: <u>"])
    shown = found._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<[a-z]>", shown))
    assert "10 more documents are left out" in shown
    assert len(shown) < 100_000
    assert len(repr(found[0])) < 400
