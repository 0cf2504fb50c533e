"""Embedders: vectors that are aligned with their inputs, finite, and told apart by a fingerprint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from genkit_rag import Genkit
from genkit_rag.plugin_api import (
    Document,
    EmbedderInfo,
    Embedding,
    EmbedRequest,
    EmbedResponse,
    GenkitError,
    checked_vectors,
    embedder_action,
)

TEXTS = [Document("a"), Document("bb"), Document("ccc")]


def lengths(documents: list[Document]) -> Any:
    return [[float(len(document.text)), 1.0] for document in documents]


async def embed(fn: Any, documents: list[Document] = TEXTS) -> EmbedResponse:
    return await embedder_action("fake/lengths", fn)(EmbedRequest(input=documents))


@pytest.mark.parametrize(
    "fn",
    [
        lengths,
        lambda documents: np.array(lengths(documents)),
        lambda documents: np.array(lengths(documents), dtype=np.float16),
        lambda documents: [Embedding(embedding=row) for row in lengths(documents)],
        lambda documents, options: EmbedResponse(lengths(documents)),
        lambda documents, options, ctx: lengths(documents) if options.task == "document" else [],
    ],
)
async def test_an_embedder_may_give_arrays_lists_embeddings_or_a_response(fn: Any) -> None:
    response = await embed(fn)
    assert response.vectors.dtype == np.float32
    assert response.vectors.flags.c_contiguous
    assert response.vectors.tolist() == [[1, 1], [2, 1], [3, 1]]
    assert response.dimensions == 2


async def test_the_embedder_is_not_asked_when_there_is_nothing_to_embed() -> None:
    calls: list[Any] = []
    response = await embed(lambda documents: calls.append(documents), [])
    assert (len(response), calls) == (0, [])


@pytest.mark.parametrize("count", [0, 1, 2, 4])
async def test_another_number_of_vectors_than_inputs_is_refused(count: int) -> None:
    with pytest.raises(GenkitError) as caught:
        await embed(lambda documents: [[1.0, 2.0]] * count)
    assert caught.value.status in ("INTERNAL", "INVALID_ARGUMENT")
    if count:
        assert f"`fake/lengths` returned {count} vectors for 3 inputs" in caught.value.message


@pytest.mark.parametrize("nothing", [[], [[]], np.zeros((1, 0))])
async def test_no_vector_for_one_input_is_refused_too(nothing: Any) -> None:
    with pytest.raises(GenkitError):
        await embed(lambda documents: nothing, TEXTS[:1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e300])
async def test_a_vector_that_is_not_finite_is_refused_with_its_row(bad: float) -> None:
    with pytest.raises(GenkitError, match="row 1") as caught:
        await embed(lambda documents: np.array([[1, 1], [1, bad], [bad, 1]]))
    assert "finite" in caught.value.message


@pytest.mark.parametrize("raw", [[[1, 2], [1]], [["a"]], [[None]], np.zeros((1, 2, 2)), np.array([[1j]]), "text"])
def test_what_are_not_vectors_is_refused(raw: Any) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT: `vectors`"):
        checked_vectors(raw, None)


def test_vectors_of_another_length_are_refused_with_both_lengths() -> None:
    with pytest.raises(GenkitError, match="must have 3 dimensions, got 2"):
        checked_vectors([[1, 2]], 3)
    assert checked_vectors([1, 2, 3], 3).shape == (1, 3)


# -- several vectors for one document


async def test_owners_say_which_vectors_belong_to_which_input() -> None:
    def parts(documents: list[Document]) -> EmbedResponse:
        return EmbedResponse([[1, 0], [2, 0], [3, 0], [4, 0]], [1, 0, 1, 2], [{"page": n} for n in range(4)])

    found = (await embed(parts)).by_input(3)
    assert [[one.embedding[0] for one in row] for row in found] == [[2], [1, 3], [4]]
    assert [one.metadata for one in found[1]] == [{"page": 0}, {"page": 2}]


@pytest.mark.parametrize("owners", [[0, 1, 1], [0, 1, 3], [0, 1], [-1, 1, 2], []])
async def test_owners_that_do_not_cover_the_inputs_are_refused(owners: list[int]) -> None:
    with pytest.raises(GenkitError, match="do not cover its 3 inputs") as caught:
        await embed(lambda documents: EmbedResponse(lengths(documents), owners))
    assert caught.value.status == "INTERNAL"


async def test_the_wire_brings_vectors_and_their_metadata() -> None:
    action = embedder_action("fake/x", lambda documents: EmbedResponse([[0.5, 1]], metadata=[{"page": 1}]))
    wire = await action.run_json({"input": [{"content": [{"text": "a"}]}], "options": {"task": "query"}})
    assert wire == {"embeddings": [{"embedding": [0.5, 1.0], "metadata": {"page": 1}}]}
    assert TypeAdapter(EmbedResponse).validate_python(wire).to_wire() == wire
    with pytest.raises(GenkitError, match=r"\$\.options\.task"):
        await action.run_json({"input": [], "options": {"task": "poem"}})


# -- the fingerprint


def test_the_fingerprint_has_everything_that_makes_vectors_comparable() -> None:
    def print_of(name: str = "p/m", dimensions: int = 2, **info: Any) -> Any:
        return embedder_action(name, lengths, info=EmbedderInfo(**info)).fingerprint(dimensions)

    same = print_of()
    assert same == print_of(label="another label", max_tokens=3)
    others = [
        print_of("p/n"),
        print_of("q/m"),
        print_of(dimensions=3),
        print_of(revision="r"),
        print_of(normalized=False),
        print_of(prefixes=("q: ", "d: ")),
    ]
    assert len({same, *others}) == 7
    assert str(print_of(revision="abcdefabcdefabcdef")) == "p/m@abcdefabcdef, 2 dimensions"


# -- through the class


async def test_genkit_embeds_one_and_many_in_order() -> None:
    ai = Genkit()
    ai.define_embedder("fake/lengths", lengths)
    assert [one.embedding for one in await ai.embed("fake/lengths", "four")] == [[4.0, 1.0]]
    many = await ai.embed_many("fake/lengths", ["a", Document("bb"), "ccc"])
    assert [row[0].embedding[0] for row in many] == [1.0, 2.0, 3.0]
    assert await ai.embed_many("fake/lengths", []) == []
    with pytest.raises(GenkitError, match="Did you mean `fake/lengths`"):
        await ai.embed("fake/length", "a")
