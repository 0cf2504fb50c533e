"""Texts, ids and metadata of any kind: what every store takes comes back equal, and what one refuses all refuse."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import json
import math
import unicodedata
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, Media, Part
from genkit_rag.plugin_api import Batching
from tests.faults.apps import App, Kind, both, each, opened, refused

TEXTS = {
    "nothing": "",
    "spaces": " \t\r\n \x0b\x0c\x1c\x85\u2028\u2029\u3000",
    "NUL": "a\0b\0",
    "control characters": "".join(map(chr, range(32))) + "\x7f",
    "right to left": "שלום \u202eevil\u202c \u2067x\u2069 مرحبا",
    "emoji of several": "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ \U000e0067",
    "combining": "e\u0301\u0302\u0303 Z\u0351\u036b\u0343",
    "composed and decomposed": "é e\u0301 Å \u212b ﬁ",
    "byte order marks": "\ufeffa\ufeffb\ufffe",
    "last plane": "\U0010ffff\uffff\ufdd0",
    "line ends": "a\r\nb\rc\n",
    "quotes": "'\"`\\%_$${}[]();--/*",
    "JSON": '{"a": [1, null, "\\u0000"]}',
    "one word": "w" * 1_000_000,
    "one word of emoji": "😀" * 250_000,
}

NAMES = {
    "quotes": 'it\'s "x"',
    "dots": "a.b..c",
    "dollar": "$in",
    "brackets": "a[0][*]",
    "NUL": "a\0b",
    "empty": "",
    "proto": "__proto__",
    "constructor": "constructor",
    "lc": "lc",
    "slashes": "a/b\\c",
    "SQL": "'); DROP TABLE x;--",
    "own words": "id",
    "score": "score",
    "rank": "rank",
    "retriever": "retriever",
    "scores": "scores",
    "space": " ",
    "decomposed": "e\u0301",
    "composed": "é",
    "long": "k" * 5000,
    "emoji": "👩‍👧",
    "content": "content",
}


@each
async def test_any_text_comes_back_to_the_last_character(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        documents = [Document(text, {"text": text[:100]}, id=name) for name, text in TEXTS.items()]
        assert await app.index(documents) == list(TEXTS)
        for name, text in TEXTS.items():
            found = await app.get(name)
            assert (found.text, found.metadata) == (text, {"text": text[:100]})
        hits = await app.ai.retrieve(app.store, "a b", {"k": 100})
        assert {document.id: document.text for document in hits} == TEXTS


@each
async def test_any_key_is_a_key_and_can_be_filtered_by(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        metadata = {name: number for number, name in enumerate(NAMES.values())}
        nested = {"in": {name: [name, {name: None}] for name in NAMES.values()}}
        await app.index([Document("x", metadata, id="flat"), Document("y", nested, id="nested")])
        assert (await app.get("flat")).metadata == metadata
        assert (await app.get("nested")).metadata == nested
        for name, number in metadata.items():
            if not name.startswith("$"):  # those are operators
                assert await app.found("x", filter={name: number}) == ["flat"]
                assert await app.found("x", filter={name: number + 1}) == []


@both
async def test_ten_million_characters_of_metadata_come_back(kind: Kind, tmp_path: Path) -> None:
    big = {"value": "é" * 5_000_000, "many": {str(n): n for n in range(100_000)}}
    async with opened(kind, tmp_path) as app:
        await app.index([Document("big", big, id="big"), Document("small", id="small")])
        assert (await app.get("big")).metadata == big
        assert set(await app.found("big")) == {"big", "small"}


@both
async def test_ids_are_compared_as_they_are_given(kind: Kind, tmp_path: Path) -> None:
    """An id is a key of the caller's own (a path, a URL, a hash): equal looks do not make two of them one."""
    composed = "caf\u00e9"
    decomposed = unicodedata.normalize("NFD", composed)
    async with opened(kind, tmp_path) as app:
        names = [composed, decomposed, "Caf\u00e9", "caf\u00e9 ", "\ufeffcaf\u00e9", "1", "01", "a/b", "😀"]
        await app.index([Document(f"t{n}", id=name) for n, name in enumerate(names)])
        assert await app.ids() == sorted(names)
        assert [(await app.get(name)).text for name in names] == [f"t{n}" for n in range(len(names))]
        assert await app.delete(ids=[composed]) == 1
        assert await app.ids() == sorted(names[1:])


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


class Colour(enum.Enum):
    RED = 1


class Fails:
    def __str__(self) -> str:
        raise ValueError("no text")


VALUES: dict[str, tuple[Any, str]] = {
    "NaN": (math.nan, "metadata.a"),
    "infinity": ([1, -math.inf], "metadata.a[1]"),
    "too large": ({"b": 2**63}, "metadata.a.b"),
    "too small": (-(2**63) - 1, "metadata.a"),
    "far too large": (10**5000, "metadata.a"),
    "datetime": (datetime.datetime(2020, 1, 1), "datetime in `metadata.a`"),
    "date": ([datetime.date(2020, 1, 1)], "date in `metadata.a[0]`"),
    "bytes": ({"b": [b"x"]}, "bytes in `metadata.a.b[0]`"),
    "Decimal": (decimal.Decimal("1.5"), "Decimal in `metadata.a`"),
    "UUID": (uuid.UUID(int=1), "UUID in `metadata.a`"),
    "Enum": (Colour.RED, "Colour in `metadata.a`"),
    "set": ({1}, "set in `metadata.a`"),
    "float32": (np.float32(1), "float32 in `metadata.a`"),
    "array": (np.ones(2), "ndarray in `metadata.a`"),
    "model": (Part(text="x"), "Part in `metadata.a`"),
    "without text": (Fails(), "Fails in `metadata.a`"),
    "surrogate": ("\ud800", "metadata.a"),
    "surrogate as key": ({"\udfff": 1}, "metadata.a"),
    "number as key": ({1: 2}, "`metadata.a`"),
    "keys of two kinds": ({1: 2, "b": 3}, "`metadata.a`"),
    "tuple as key": ({(1, 2): 3}, "`metadata.a`"),
    "66 levels": (nested(66), "deeper than 64"),
    "5000 levels": (nested(5000), "deeper than 64"),
    "a circle": (circle(), "deeper than 64"),
}


@both
async def test_what_is_no_json_is_refused_with_its_path_whether_the_document_has_an_id_or_not(
    kind: Kind, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as app:
        await app.index([Document("before", id="before")])
        app.calls.clear()
        for value, path in VALUES.values():
            for id_, which in (("bad", "'bad'"), (None, "")):
                batch = [Document("fine", id="fine"), Document("bad", {"a": value}, id=id_)]
                await refused(app.index(batch), path, which)
        assert await app.ids() == ["before"]
        assert app.calls == []  # nothing was paid for


CONTENTS: list[tuple[Document, list[str]]] = [
    (Document("half \ud83d", id="bad"), ["'bad'", "surrogate", "content"]),
    (Document("half \ud83d"), ["surrogate", "content"]),
    (Document(Part(media=Media(url="data:,\ud800")), id="bad"), ["content[0].media.url"]),
    (Document([Part(text="a"), Part(text="\ud800")], id="bad"), ["content[1].text"]),
    (Document(Part(text="a", metadata={"x": [math.nan]}), id="bad"), ["content[0].metadata.x[0]", "nan"]),
    (Document(Part(text="a", metadata={"x": datetime.date(2020, 1, 1)}), id="bad"), ["content[0].metadata.x"]),
    (Document(Part(text="a", metadata={"x": nested(70)}), id="bad"), ["deeper than 64"]),
    (Document("x", id=""), ["empty"]),
    (Document("x", id="a\0b"), ["NUL"]),
    (Document("x", id="\ud800"), ["surrogate"]),
    (Document("x", id=5), ["string", "5"]),  # type: ignore[arg-type]
]


@each
async def test_content_and_ids_that_no_store_could_keep_are_refused(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        for document, words in CONTENTS:
            await refused(app.index([Document("fine", id="fine"), document]), *words)
        assert app.calls == []
        assert await app.ids() == []


@both
async def test_tuples_come_back_as_lists_and_parts_belong_to_the_caller(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        parts = [Part(text="a", metadata={"tags": ["x"]}), Part(text="b")]
        await app.index([Document(parts, {"box": (1, (2, 3))}, id="d")])
        for _ in range(2):
            found = await app.get("d")
            assert found.metadata == {"box": [1, [2, 3]]}
            assert [part.to_wire() for part in found.content] == [
                {"text": "a", "metadata": {"tags": ["x"]}},
                {"text": "b"},
            ]
            assert found.content[0].metadata is not None
            found.content[0].metadata["tags"].append("mine")
            found.content.append(Part(text="mine"))
            found.metadata["box"].append("mine")


@each
async def test_one_id_is_one_document_within_a_call_and_across_calls(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as app:
        twice = [Document("a", id="x"), Document("b", id="y"), Document("c", id="x")]
        await refused(app.index(twice), "documents[2]", "'x'")
        assert await app.ids() == []
        same = [Document("a", {"n": 1}, id="x"), Document("a", {"n": 1}, id="x")]
        assert await app.index(same) == ["x"]  # the same thing said twice
        for text in ("first", "second", "last"):
            await app.index([Document(text, {text: True}, id="x")])
        assert await app.ids() == ["x"]
        found = await app.get("x")
        assert (found.text, found.metadata) == ("last", {"last": True})
        assert await app.found("first", filter={"first": True}) == []
        assert await app.index(["same", "same"]) == [Document("same").id]


@both
async def test_writers_of_one_id_at_the_same_time_leave_one_of_theirs(kind: Kind, tmp_path: Path) -> None:
    async with opened(kind, tmp_path, batching=Batching(max_texts=1)) as app:
        calls = [app.index([Document(f"text {n}", {"n": n}, id="x"), Document("y", id=f"y{n}")]) for n in range(20)]
        await asyncio.gather(*calls)
        assert await app.ids() == sorted(["x", *(f"y{n}" for n in range(20))])
        found = await app.get("x")
        assert found.text == f"text {found.metadata['n']}"
        (hit,) = await app.ai.retrieve(app.store, found.text, {"k": 1})
        assert hit.id == "x"
        assert hit.score == pytest.approx(1.0, abs=1e-5)  # the vector is that of the text


# -- any document at all

texts = st.text(st.characters(), max_size=20)  # lone surrogates and NUL among them
scalars = (
    st.none()
    | st.booleans()
    | st.floats()
    | texts
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -0.0, 1e308, 5e-324])
)
values = st.recursive(
    scalars | st.binary(max_size=2) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(texts, inner, max_size=3)
        | st.dictionaries(st.integers(0, 3), inner, max_size=1)
    ),
    max_leaves=6,
)
anything = st.builds(
    Document,
    texts,
    st.dictionaries(texts, values, max_size=3),
    id=st.none() | texts,
)


def is_text(value: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in value)


def is_json(value: Any) -> bool:
    """What the documentation of a document's metadata says, written down once more."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_text(key) and is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_json(item) for item in value)
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)


def may_be_kept(document: Document) -> bool:
    if not (is_text(document.text) and is_json(document.metadata)):
        return False
    return document.id != "" and "\0" not in document.id and is_text(document.id)


async def outcome(app: App, document: Document) -> str:
    try:
        (name,) = await app.index([document])
    except GenkitError as error:
        left = await (await app.opened()).count()
        return f"refused, {left} left: {error}"
    found = await app.get(name)
    (hit,) = await app.ai.retrieve(app.store, "x")
    assert (hit.id, hit.text, hit.metadata) == (name, found.text, found.metadata)
    assert await app.delete(ids=[name]) == 1
    return json.dumps([name, found.text, found.metadata], sort_keys=True)


def test_any_document_comes_back_equal_or_is_refused_by_every_store_in_the_same_words(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:

        async def both_of(document: Document) -> list[str]:
            return [await outcome(app, document) for app in apps]

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(anything)
        def check(document: Document) -> None:
            memory, faiss = runner.run(both_of(document))
            assert memory == faiss
            if may_be_kept(document):
                assert memory == json.dumps([document.id, document.text, document.metadata], sort_keys=True)
            else:
                assert memory.startswith("refused, 0 left: INVALID_ARGUMENT")

        contexts = [opened("memory", tmp_path), opened("faiss", tmp_path)]
        apps = [runner.run(context.__aenter__()) for context in contexts]
        try:
            check()
        finally:
            for context in contexts:
                runner.run(context.__aexit__(None, None, None))


async def test_a_text_beyond_the_limit_is_refused_before_it_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    from genkit_rag._documents import checks as document_checks
    from genkit_rag.testing import FakeEmbedder
    from genkit_rag_memory import Memory

    monkeypatch.setattr(document_checks, "MAX_TEXT", 10_000)
    embedder = FakeEmbedder()
    async with Genkit(plugins=[embedder, Memory(["docs"], embedder=embedder.embedder)]) as ai:
        for document in (
            Document("x" * 10_001, id="a"),
            Document("x", {"deep": [{"k": "x" * 10_001}]}, id="a"),
            Document("x", {"k": "x" * 10_001}, id="a"),
        ):
            with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT: The document 'a'.*10,001 characters"):
                await ai.index("memory/docs", [document])
        assert embedder.calls == []
