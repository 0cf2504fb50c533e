from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.ingest import Splitter
from genkit_rag.testing import FakeEmbedder
from genkit_rag_hybrid import Hybrid
from genkit_rag_memory import Memory
from genkit_rag_parents import Parents, ParentsConfig

TEXT = " ".join(f"Sentence {number} tells of thing{number}." for number in range(30))
WORDS = Splitter(120, 30, len)


def chunks(text: str, source: str = "a.md", splitter: Splitter = WORDS, **facts: Any) -> list[Document]:
    return list(splitter.split(Document(text, {"source": source, **facts})))


async def made(documents: list[Document], memory: Memory | None = None, **retrievers: Any) -> Genkit:
    given = retrievers or {"docs": "memory/docs", "near": ParentsConfig("memory/docs", window=1)}
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            memory or Memory(["docs"], embedder="fake/words"),
            Hybrid({"docs": ["memory/docs"]}),
            Parents(given),
        ]
    )
    await ai.index("memory/docs", documents)
    return ai


def spaces_gone(text: str) -> str:
    return "".join(text.split())


async def test_a_hit_gives_its_whole_parent_once_with_the_best_score() -> None:
    ai = await made([*chunks(TEXT), *chunks("Something else altogether.", "b.md")])
    hits = await ai.retrieve("memory/docs", "thing7 thing20", {"k": 3})
    found = await ai.retrieve("parents/docs", "thing7 thing20", {"k": 2, "candidates": 40})
    whole = found[0]
    assert [d.metadata["source"] for d in found] == ["a.md", "b.md"]
    assert spaces_gone(whole.text) == spaces_gone(TEXT)
    assert (whole.score, whole.id) == (hits[0].score, hits[0].id)
    assert whole.metadata["matches"][0] == hits[0].id
    assert (whole.metadata["start"], whole.metadata["end"]) == (0, len(TEXT))
    assert whole.metadata["chunks"] == [0, len(chunks(TEXT)) - 1]
    assert whole.scores == {"memory/docs": hits[0].score}
    assert "chunk" not in whole.metadata


async def test_a_window_gives_the_neighbours_and_stands_at_its_offsets() -> None:
    ai = await made(chunks(TEXT))
    hit = (await ai.retrieve("memory/docs", "thing15", {"k": 1}))[0]
    found = await ai.retrieve("parents/near", "thing15", {"k": 1, "candidates": 1})
    number = hit.metadata["chunk"]
    assert found[0].metadata["chunks"] == [number - 1, number + 1]
    start, end = found[0].metadata["start"], found[0].metadata["end"]
    assert spaces_gone(found[0].text) == spaces_gone(TEXT[start:end])
    assert len(found[0].text) == end - start
    assert found[0].metadata["matches"] == [hit.id]
    alone = await ai.retrieve("parents/near", "thing15", {"k": 1, "candidates": 1, "window": 0})
    assert alone[0].text == hit.text


async def test_windows_that_touch_become_one_and_others_stay_apart() -> None:
    pieces = [Document(f"word{n}", {"source": "s", "chunk": n, "start": n * 7, "end": n * 7 + 5}) for n in range(10)]
    ai = await made(pieces)
    found = await ai.retrieve("parents/near", "word1 word3 word8", {"k": 3, "candidates": 3})
    assert sorted(d.metadata["chunks"] for d in found) == [[0, 4], [7, 9]]
    joined = next(d for d in found if d.metadata["chunks"] == [0, 4])
    assert joined.text == "word0\n\nword1\n\nword2\n\nword3\n\nword4"
    assert sorted(joined.metadata["matches"]) == sorted([pieces[1].id, pieces[3].id])


async def test_k_counts_documents_after_the_merging() -> None:
    documents = [d for source in "abcde" for d in chunks(TEXT, source)]
    ai = await made(documents)
    assert len(await ai.retrieve("parents/docs", "thing7", {"k": 2, "candidates": 40})) == 2
    few = await ai.retrieve("parents/docs", "thing7", {"k": 5, "candidates": 6, "filter": {"source": "a"}})
    assert len(few) == 1
    assert few.notices == ["FEWER: 6 hits made 1 documents; ask for more `candidates` than 6."]
    assert await ai.retrieve("parents/docs", "thing7", {"k": 0}) == []
    assert (await ai.retrieve("parents/docs", " ")).notices[0].startswith("EMPTY_QUERY")


async def test_neighbours_obey_the_filter_and_the_namespace_of_the_caller() -> None:
    documents = chunks(TEXT)
    for document in documents:
        document.metadata["page"] = 1 + document.metadata["chunk"] // 4
    ai = await made(documents)
    await ai.index("memory/docs", chunks("Thing15 elsewhere."), {"namespace": "other"})
    found = await ai.retrieve("parents/docs", "thing15", {"filter": {"page": 2}})
    assert {tuple(d.metadata["chunks"]) for d in found} == {(4, 7)}
    assert found[0].metadata["page"] == 2
    elsewhere = await ai.retrieve("parents/docs", "thing15", {"namespace": "other"})
    assert [d.text for d in elsewhere] == ["Thing15 elsewhere."]


async def test_neighbours_obey_the_rules_of_the_store() -> None:
    documents = chunks(TEXT)
    for document in documents:
        document.metadata["page"] = document.metadata["chunk"]
    memory = Memory(
        ["docs"], embedder="fake/words", required_filter=lambda ctx: {"page": {"$lte": ctx.context["clearance"]}}
    )
    ai = Genkit(
        plugins=[FakeEmbedder(), memory, Parents({"docs": "memory/docs", "near": ParentsConfig("memory/docs", 1)})]
    )
    await ai.index("memory/docs", documents, context={"clearance": 99})
    for name in ("parents/docs", "parents/near"):
        found = await ai.retrieve(name, "thing10", {"k": 3}, context={"clearance": 3})
        assert found
        assert all(d.metadata["chunks"][1] <= 3 for d in found)
        assert "thing29" not in " ".join(d.text for d in found)
        with pytest.raises(GenkitError) as caught:
            await ai.retrieve(name, "thing10")
        assert caught.value.status == "PERMISSION_DENIED"


async def test_a_missing_chunk_ends_a_window_and_shows_in_a_whole_parent() -> None:
    documents = chunks(TEXT)
    ai = await made([d for d in documents if d.metadata["chunk"] != 3])
    query, best = documents[2].text, {"k": 1, "candidates": 1}
    window = await ai.retrieve("parents/near", query, {**best, "window": 2})
    assert window[0].metadata["chunks"] == [0, 2]
    whole = await ai.retrieve("parents/docs", query, best)
    assert "\n\n[...]\n\n" in whole[0].text
    assert "start" not in whole[0].metadata


async def test_rows_of_a_table_are_not_each_others_neighbours() -> None:
    rows = [
        Document(f"name: n{n}", {"source": "t.csv", "row": n, "chunk": 0, "start": 0, "end": 8}, id=f"t#{n}")
        for n in range(5)
    ]
    ai = await made(rows)
    found = await ai.retrieve("parents/docs", "n3", {"k": 2})
    assert found[0].text == "name: n3"
    assert found[0].metadata["row"] == 3
    assert len(found) == 2


async def test_pages_are_put_together_with_a_break_and_share_what_is_equal() -> None:
    place = {"source": "a.pdf", "title": "T", "start": 0, "end": 14}
    pages = [Document(f"text of page {n}", {**place, "page": n, "chunk": n}, id=str(n)) for n in range(3)]
    ai = await made(pages)
    found = await ai.retrieve("parents/docs", "page 1", {"k": 1})
    assert found[0].text == "text of page 0\n\ntext of page 1\n\ntext of page 2"
    assert {k: v for k, v in found[0].metadata.items() if k != "matches"} == {
        "source": "a.pdf",
        "title": "T",
        "chunks": [0, 2],
    }


async def test_the_header_of_a_table_is_not_repeated() -> None:
    header = "| a |\n| - |\n"
    parts = [("| 1 |", 0), ("| 2 |", 6)]
    rows = [
        Document(header + text, {"source": "t", "chunk": n, "start": at + 12, "end": at + 17, "prefix": len(header)})
        for n, (text, at) in enumerate(parts)
    ]
    ai = await made(rows)
    found = await ai.retrieve("parents/docs", "2", {"k": 1})
    assert found[0].text == header + "| 1 |\n| 2 |"
    assert (found[0].metadata["prefix"], found[0].metadata["start"], found[0].metadata["end"]) == (12, 12, 23)


async def test_a_long_parent_is_cut_around_the_best_hit_and_it_is_said() -> None:
    ai = await made(chunks(TEXT), docs=ParentsConfig("memory/docs", max_chunks=3))
    hit = (await ai.retrieve("memory/docs", "thing15", {"k": 1}))[0].metadata["chunk"]
    found = await ai.retrieve("parents/docs", "thing15", {"k": 1})
    first, last = found[0].metadata["chunks"]
    assert last - first == 2
    assert first <= hit <= last
    assert found.notices == ["PARENT_CUT: of `a.md` the 3 chunks around the best hit are given."]


async def test_it_stands_over_another_retriever_when_the_store_is_named() -> None:
    ai = await made(chunks(TEXT), deep=ParentsConfig("hybrid/docs", store="memory/docs"), lost="hybrid/docs")
    found = await ai.retrieve("parents/deep", "thing15", {"k": 1, "mode": "text"})
    assert spaces_gone(found[0].text) == spaces_gone(TEXT)
    assert set(found[0].scores or {}) == {"hybrid/docs", "hybrid/docs/memory/docs"}
    with pytest.raises(GenkitError, match=r"store='faiss/docs'"):
        await ai.retrieve("parents/lost", "thing15")


async def test_hits_without_a_place_stay_as_they_are() -> None:
    ai = await made([Document("plain text", {"kind": "x"}, id="p"), *chunks(TEXT)])
    found = await ai.retrieve("parents/docs", "plain text", {"k": 1})
    assert (found[0].text, found[0].id, found[0].metadata) == ("plain text", "p", {"kind": "x"})
    assert found.notices == ["NOT_WIDENED: 1 hits have no `source`, `chunk`, `start` and `end` that fit their text."]


async def test_when_the_neighbours_cannot_be_read_it_raises_or_gives_the_hits() -> None:
    documents = chunks(TEXT)
    for policy in ("raise", "degrade"):
        ai = Genkit(
            plugins=[
                FakeEmbedder(),
                memory := Memory(["docs"], embedder="fake/words"),
                Parents({"docs": "memory/docs"}, on_error=policy),
            ]
        )  # type: ignore[arg-type]
        await ai.index("memory/docs", documents)
        store = await memory.handle("docs").store()

        async def ids(**_: Any) -> list[str]:
            raise OSError("the disk is gone")

        store.ids = ids  # type: ignore[method-assign]
        if policy == "raise":
            with pytest.raises(OSError, match="disk is gone"):
                await ai.retrieve("parents/docs", "thing15")
            continue
        found = await ai.retrieve("parents/docs", "thing15", {"k": 1, "candidates": 1})
        assert found[0].metadata["matches"] == [found[0].id]
        assert found.notices == ["NOT_WIDENED: the chunks around were not read: the disk is gone"]


async def test_a_chunk_of_another_version_is_never_spliced() -> None:
    old = Document("one two three", {"source": "s", "chunk": 0, "start": 0, "end": 13}, id="0")
    new = Document("other words", {"source": "s", "chunk": 1, "start": 8, "end": 19}, id="1")
    ai = await made([old, new])
    found = await ai.retrieve("parents/docs", "one", {"k": 1})
    assert found[0].text == "one two three\n\nother words"
    assert "start" not in found[0].metadata


@pytest.mark.parametrize("facts", [{"chunk": "0"}, {"end": 99}, {"start": -1, "end": 8}, {"prefix": -1, "end": 10}])
async def test_offsets_that_do_not_fit_the_text_are_not_used(facts: dict[str, Any]) -> None:
    ai = await made([Document("some text", {"source": "s", "chunk": 0, "start": 0, "end": 9, **facts})])
    found = await ai.retrieve("parents/docs", "some")
    assert [d.text for d in found] == ["some text"]
    assert found.notices[-1].startswith("NOT_WIDENED: 1 hits")


async def test_a_gap_that_is_more_than_white_space_is_a_break() -> None:
    far = [
        Document("one", {"source": "s", "chunk": 0, "start": 0, "end": 3}),
        Document("two", {"source": "s", "chunk": 1, "start": 900, "end": 903}),
    ]
    found = await (await made(far)).retrieve("parents/docs", "one", {"k": 1})
    assert found[0].text == "one\n\ntwo"
    assert "start" not in found[0].metadata


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": "parents/x"},
        {"x": 3},
        lambda: ParentsConfig("a", window=-1),
        lambda: ParentsConfig("a", max_chunks=0),
        lambda: ParentsConfig("a", position=("source",)),
        lambda: Parents({}, on_error="x"),
    ],  # type: ignore[arg-type]
)
def test_wrong_settings_are_refused_when_they_are_made(wrong: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        wrong() if callable(wrong) else Parents(wrong)
    assert caught.value.status == "INVALID_ARGUMENT"


SOURCES = st.lists(
    st.sampled_from(["word", "Other words here.", "\n", "\n\n", " ", "é", "# Head\n", "x" * 30]), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(
    pieces=SOURCES,
    size=st.integers(5, 60),
    overlap=st.integers(0, 4),
    window=st.none() | st.integers(0, 3),
    markdown=st.booleans(),
    at=st.integers(0, 99),
)
def test_what_is_given_is_the_text_of_the_source(
    pieces: list[str], size: int, overlap: int, window: int | None, markdown: bool, at: int
) -> None:
    text = re.sub(r"\s{17,}", "\n", " ".join(pieces))
    facts = {"content_type": "text/markdown"} if markdown else {}
    documents = chunks(text, splitter=Splitter(size, overlap, len), **facts)
    if not documents:
        return

    async def retrieved() -> Document:
        ai = await made(documents, docs=ParentsConfig("memory/docs", window=window))
        return (await ai.retrieve("parents/docs", documents[at % len(documents)].text, {"k": 1, "candidates": 1}))[0]

    found = asyncio.run(retrieved())
    start, end = found.metadata["start"], found.metadata["end"]
    prefix = found.metadata.get("prefix", 0)
    body = found.text[prefix:]
    assert len(body) == end - start
    assert all(a == b or (a == "\n" and b.isspace()) for a, b in zip(body, text[start:end], strict=True))
    if window is None:
        assert spaces_gone(found.text) == spaces_gone(text)
