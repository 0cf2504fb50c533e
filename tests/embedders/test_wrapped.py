from __future__ import annotations

import asyncio
import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import (
    Batching,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    EmbedRequest,
    EmbedResponse,
    Plugin,
    Vectors,
    embedder_action,
)
from genkit_rag.testing import EmbedderContract, FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_wrapped import Wrapped, WrappedConfig
from genkit_rag_wrapped._batching import batches, cut, estimate

PREFIXES = ("query: ", "passage: ")


class Words(Plugin):
    """An embedder whose behaviour a test chooses: it notes what comes, and may wait, fail or shorten."""

    name = "inner"

    def __init__(self, *, shortens: bool = False, batching: Batching | None = None, **info: Any) -> None:
        self.fake = FakeEmbedder(16)
        self.calls: list[list[str]] = []
        self.options: list[EmbedderOptions] = []
        self.shortens = shortens
        self.errors: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.action = embedder_action(
            "inner/words", self._embed, info=EmbedderInfo(**({"dimensions": 16} | info)), batching=batching
        )

    async def init(self) -> Sequence[EmbedderAction]:
        return [self.action]

    async def _embed(self, documents: list[Document], options: EmbedderOptions) -> Vectors:
        self.calls.append([document.data for document in documents])
        self.options.append(options)
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        vectors = np.stack([self.fake.vector(document.data) for document in documents])
        if options.dimensions is None:
            return vectors
        if not self.shortens:
            raise GenkitError("UNIMPLEMENTED", "no shorter vectors")
        return vectors[:, : options.dimensions]


async def wrapped(inner: Plugin, wrap: WrappedConfig, name: str = "w") -> EmbedderAction:
    ai = Genkit(plugins=[inner, Wrapped({name: wrap})])
    action = await ai.registry.get("embedder", f"wrapped/{name}")
    assert isinstance(action, EmbedderAction)
    return action


async def embed(action: EmbedderAction, *texts: str, **options: Any) -> Vectors:
    request = EmbedRequest(input=[Document(text) for text in texts], options=EmbedderOptions(**options))
    return (await action(request)).vectors


class TestContractWithEverything(EmbedderContract):
    @pytest.fixture
    async def embedder(self, tmp_path: Path) -> Any:
        wrap = WrappedConfig(
            "fake/words",
            cache=tmp_path / "vectors.db",
            dimensions=32,
            prefixes=PREFIXES,
            max_tokens=100,
            max_texts=5,
            max_concurrency=2,
            requests_per_minute=600_000,
            tokens_per_minute=1e9,
            too_long="truncate",
        )
        return await wrapped(FakeEmbedder(), wrap)


class TestContractWithNothing(EmbedderContract):
    @pytest.fixture
    async def embedder(self) -> Any:
        return await wrapped(FakeEmbedder(), WrappedConfig("fake/words"))


# ---- fingerprints


async def test_cache_limits_and_retries_leave_the_fingerprint_as_it_is(tmp_path: Path) -> None:
    inner = Words(revision="abc")
    wrap = WrappedConfig("inner/words", cache=tmp_path / "v.db", requests_per_minute=1e6, max_tokens=9, retries=1)
    action = await wrapped(inner, wrap)
    assert action.fingerprint(16) == inner.action.fingerprint(16)


async def test_prefixes_and_fewer_dimensions_change_the_fingerprint() -> None:
    inner = Words()
    plain = inner.action.fingerprint(16)
    prefixed = (await wrapped(inner, WrappedConfig("inner/words", prefixes=PREFIXES))).fingerprint(16)
    short = await wrapped(Words(), WrappedConfig("inner/words", dimensions=4))
    assert prefixed != plain
    assert prefixed.prefixes == PREFIXES
    assert (short.fingerprint(4).dimensions, short.info.dimensions) == (4, 4)


async def test_a_store_filled_by_the_embedder_opens_with_the_wrapped_one(tmp_path: Path) -> None:
    def plugins(embedder: str) -> list[Plugin]:
        wraps = {
            "cached": WrappedConfig("inner/words", cache=tmp_path / "v.db"),
            "asked": WrappedConfig("inner/words", prefixes=PREFIXES),
        }
        return [Words(), Wrapped(wraps), Faiss(["docs"], path=tmp_path / "stores", embedder=embedder)]

    async with Genkit(plugins=plugins("inner/words")) as ai:
        await ai.index("faiss/docs", [Document("the cat sleeps", id="cat"), Document("rates rise", id="rates")])
    async with Genkit(plugins=plugins("wrapped/cached")) as ai:
        assert (await ai.retrieve("faiss/docs", "cat"))[0].id == "cat"
    async with Genkit(plugins=plugins("wrapped/asked")) as ai:
        with pytest.raises(GenkitError, match="prefixes") as caught:
            await ai.retrieve("faiss/docs", "cat")
    assert caught.value.status == "FAILED_PRECONDITION"


async def test_what_a_model_learns_when_it_is_loaded_is_learnt_by_the_wrap_too(tmp_path: Path) -> None:
    inner = Words(dimensions=None)

    def count(text: str) -> int:
        inner.action.info = inner.action.info.model_copy(update={"dimensions": 16, "revision": "late"})
        return len(text)

    inner.action.count_tokens = count
    action = await wrapped(inner, WrappedConfig("inner/words", cache=tmp_path / "v.db"))
    await embed(action, "one")
    assert (action.info.dimensions, action.fingerprint(16).revision) == (16, "late")
    # The very first look-up was made with the revision already: another process finds the vector.
    again = Words(revision="late")
    await embed(await wrapped(again, WrappedConfig("inner/words", cache=tmp_path / "v.db")), "one")
    assert again.calls == []


async def test_counting_tells_the_wrap_what_the_model_is() -> None:
    inner = Words(dimensions=None)

    def count(text: str) -> int:
        inner.action.info = inner.action.info.model_copy(update={"dimensions": 16, "revision": "late"})
        return len(text)

    inner.action.count_tokens = count
    action = await wrapped(inner, WrappedConfig("inner/words"))
    assert action.count_tokens is not None
    assert action.count_tokens("four") == 4
    assert action.info.revision == "late"


# ---- prefixes


async def test_prefixes_go_by_the_task_and_stand_once() -> None:
    inner = Words()
    action = await wrapped(inner, WrappedConfig("inner/words", prefixes=PREFIXES))
    await embed(action, "cat", task="query")
    await embed(action, "cat", "dog")
    assert inner.calls == [["query: cat"], ["passage: cat", "passage: dog"]]
    assert [options.task for options in inner.options] == ["query", "document"]


async def test_media_get_no_prefix_and_are_cached_by_their_content(tmp_path: Path) -> None:
    inner = Words()
    action = await wrapped(inner, WrappedConfig("inner/words", prefixes=PREFIXES, cache=tmp_path / "v.db"))
    images = [f"data:image/png;base64,{base64.b64encode(body).decode()}" for body in (b"a", b"b", b"a")]
    documents = [Document.from_media(url, "image/png", {"name": i}) for i, url in enumerate(images)]
    response = await action(EmbedRequest(input=documents))
    assert inner.calls == [images[:2]]
    assert response.vectors[0].tobytes() == response.vectors[2].tobytes()


async def test_two_prefixes_are_refused() -> None:
    with pytest.raises(GenkitError, match="prefixes of its own") as caught:
        await wrapped(Words(prefixes=("q ", "d ")), WrappedConfig("inner/words", prefixes=PREFIXES))
    assert caught.value.status == "FAILED_PRECONDITION"


# ---- fewer dimensions


@pytest.mark.parametrize(("shortens", "shorten"), [(True, "model"), (False, "model"), (True, "here")])
async def test_fewer_dimensions_are_the_first_ones_at_length_one(shortens: bool, shorten: Any) -> None:
    inner = Words(shortens=shortens)
    action = await wrapped(inner, WrappedConfig("inner/words", dimensions=5, shorten=shorten))
    for _ in range(2):
        vectors = await embed(action, "one cat", "two cats")
    expected = np.stack([inner.fake.vector(text)[:5] for text in ("one cat", "two cats")])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    if not (shortens and shorten == "model"):  # else the vectors are the model's own
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    asked = [options.dimensions for options in inner.options]
    assert (
        asked
        == {(True, "model"): [5, 5], (False, "model"): [5, None, None], (True, "here"): [None, None]}[shortens, shorten]
    )


async def test_a_model_that_ignores_the_wish_is_cut_here() -> None:
    action = await wrapped(FakeEmbedder(16), WrappedConfig("fake/words", dimensions=5))
    vectors = await embed(action, "one cat")
    assert vectors.shape == (1, 5)
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-6)


async def test_a_calls_own_dimensions_go_first() -> None:
    action = await wrapped(Words(), WrappedConfig("inner/words", dimensions=5))
    assert (await embed(action, "cat", dimensions=3)).shape == (1, 3)


@pytest.mark.parametrize("known", [16, None])
async def test_more_dimensions_than_the_model_gives_are_refused(known: int | None) -> None:
    with pytest.raises(GenkitError, match="at most 16") as caught:
        await embed(await wrapped(Words(dimensions=known), WrappedConfig("inner/words", dimensions=17)), "cat")
    assert caught.value.status == "INVALID_ARGUMENT"


# ---- how much goes into a call


@given(st.lists(st.integers(0, 50)), st.integers(1, 8), st.one_of(st.none(), st.integers(1, 60)))
def test_batches_hold_every_text_once_in_order_and_within_the_bounds(
    sizes: list[int], max_texts: int, max_tokens: int | None
) -> None:
    found = batches(sizes, max_texts, max_tokens)
    assert [position for part in found for position in part] == list(range(len(sizes)))
    for part, following in zip(found, [*found[1:], range(0)], strict=False):
        total = sum(sizes[at] for at in part)
        assert 1 <= len(part) <= max_texts
        assert max_tokens is None or total <= max_tokens or len(part) == 1
        if following:  # no call is smaller than it must be
            assert len(part) == max_texts or (max_tokens is not None and total + sizes[following[0]] > max_tokens)


@given(st.text(max_size=200), st.integers(0, 40))
def test_a_text_is_cut_to_the_longest_beginning_that_fits(text: str, limit: int) -> None:
    short = cut(text, limit, estimate)
    assert text.startswith(short)
    assert estimate(short) <= limit
    assert short == text or estimate(text[: len(short) + 1]) > limit


async def test_calls_hold_at_most_so_many_tokens_as_the_embedder_counts_them() -> None:
    inner = Words()
    inner.action.count_tokens = lambda text: len(text.split())
    action = await wrapped(inner, WrappedConfig("inner/words", max_tokens=4, max_concurrency=1))
    texts = ["a b c", "d", "e", "f g h i j k", "l m", "n"]
    vectors = await embed(action, *texts)
    assert inner.calls == [["a b c", "d"], ["e"], ["f g h i j k"], ["l m", "n"]]
    np.testing.assert_array_equal(vectors, np.stack([inner.fake.vector(text) for text in texts]))


async def test_calls_at_the_same_time_are_bounded() -> None:
    inner = Words(batching=Batching(concurrency=8))
    inner.gate = asyncio.Event()
    action = await wrapped(inner, WrappedConfig("inner/words", max_texts=1, max_concurrency=3))
    assert (action.batching.concurrency, action.batching.max_texts) == (3, 1)
    waiting = [asyncio.create_task(embed(action, *(f"text {i} {j}" for j in range(4)))) for i in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(inner.calls) == 3
    inner.gate.set()
    await asyncio.gather(*waiting)
    assert len(inner.calls) == 12


async def test_a_text_that_is_too_long_is_cut_or_refused() -> None:
    long = "one two three four five"
    inner = Words(max_tokens=3)
    inner.action.count_tokens = lambda text: len(text.split())
    await embed(await wrapped(inner, WrappedConfig("inner/words")), long)
    await embed(
        await wrapped(inner, WrappedConfig("inner/words", too_long="truncate", prefixes=("q ", "d "))), long, "one"
    )
    with pytest.raises(GenkitError, match="has 5 tokens; 3 are the most") as caught:
        await embed(await wrapped(inner, WrappedConfig("inner/words", too_long="refuse")), "one", long)
    assert caught.value.details["argument"] == "input[1]"
    assert inner.calls == [[long], ["d one two ", "d one"]]


# ---- what is refused when it is made


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"too_long": "cut"}, "too_long"),
        ({"shorten": "there"}, "shorten"),
        ({"dimensions": 0}, "dimensions"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"requests_per_minute": float("nan")}, "requests_per_minute"),
        ({"tokens_per_minute": 0}, "tokens_per_minute"),
        ({"retries": -1}, "retries"),
        ({"retry_seconds": float("inf")}, "retry_seconds"),
        ({"prefixes": "query: "}, "prefixes"),
        ({"cache_bytes": 10}, "cache_bytes"),
        ({"max_concurrency": "4"}, "max_concurrency"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_wrap_is_made(wrong: Any, argument: str) -> None:
    with pytest.raises(GenkitError) as caught:
        WrappedConfig("inner/words", **wrong)
    assert (caught.value.status, caught.value.details["argument"]) == ("INVALID_ARGUMENT", argument)


@pytest.mark.parametrize(
    "embedders",
    [
        "inner/words",
        {"w": "inner/words"},
        {"w": WrappedConfig("wrapped/other")},
        {"a": WrappedConfig("x/y", cache="v.db"), "b": WrappedConfig("x/z", cache="v.db", cache_bytes=99)},
    ],
)
def test_wraps_that_make_no_sense_are_refused(embedders: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        Wrapped(embedders)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_an_embedder_that_is_not_there_is_named() -> None:
    async with Genkit(plugins=[Words(), Wrapped({"w": WrappedConfig("inner/wrods")})]) as ai:
        assert "/embedder/wrapped/w" in {action.key for action in await ai.registry.list_actions()}
        with pytest.raises(GenkitError, match="Unknown embedder `inner/wrods`"):
            await ai.embed("wrapped/w", "cat")


async def test_several_vectors_for_a_document_are_refused() -> None:
    action = embedder_action("many/pages", lambda documents: EmbedResponse(np.ones((2, 3)), [0, 0]))
    ai = Genkit(plugins=[Wrapped({"w": WrappedConfig("many/pages")})])
    ai.registry.register(action)
    with pytest.raises(GenkitError, match="several vectors") as caught:
        await ai.embed("wrapped/w", "cat")
    assert caught.value.status == "UNIMPLEMENTED"


# ---- the documentation


def test_every_option_and_default_of_a_wrap_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/embedders.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.MULTILINE))
    for field in dataclasses.fields(WrappedConfig):
        default = field.default
        shown = (
            f"{default:g}" if isinstance(default, float) else f"`{default}`" if isinstance(default, str) else default
        )
        assert field.name in rows
        assert not isinstance(default, str | int | float) or rows[field.name].strip() == str(shown), field.name
