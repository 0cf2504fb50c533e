"""Mandatory filters and namespaces: what a rule may be, and what it says when it cannot hold."""

from __future__ import annotations

from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_memory import Memory


def zoo(**rules: Any) -> Genkit:
    embedder = FakeEmbedder()
    return Genkit(plugins=[embedder, Memory(["docs"], embedder=embedder.embedder, **rules)])


async def test_a_fixed_filter_holds_for_every_call() -> None:
    async with zoo(required_filter={"public": True}) as ai:
        await ai.index("memory/docs", [Document("a fox", {"public": True}, id="a")])
        with pytest.raises(GenkitError, match="not this caller's to write") as caught:
            await ai.index("memory/docs", [Document("a secret fox", {"public": False}, id="b")])
        assert caught.value.status == "PERMISSION_DENIED"
        store = await ai.store("memory/docs")
        assert await store.ids() == ["a"]


async def test_what_the_filter_hides_cannot_be_overwritten() -> None:
    async with zoo(required_filter=lambda ctx: ctx.context.get("rule", {})) as ai:
        await ai.index("memory/docs", [Document("mine", {"owner": 1}, id="x")])
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            await ai.index("memory/docs", [Document("theirs", {"owner": 2}, id="x")], context={"rule": {"owner": 2}})
        assert [document.text for document in await ai.retrieve("memory/docs", "mine")] == ["mine"]


async def test_a_rule_that_lets_everything_through_is_no_rule() -> None:
    async with zoo(required_filter=lambda ctx: {}) as ai:
        await ai.index("memory/docs", ["a fox"])
        assert len(await ai.retrieve("memory/docs", "fox")) == 1


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"required_filter": lambda ctx: ctx.context["tenant"]}, ["required_filter", "KeyError", "context={...}"]),
        ({"required_filter": lambda ctx: None}, ["required_filter", "gave None", "{}"]),
        ({"required_filter": lambda ctx: "ada"}, ["required_filter", "'ada'"]),
        ({"required_namespace": lambda ctx: None}, ["required_namespace", "None"]),
    ],
)
async def test_a_rule_that_cannot_be_evaluated_denies_everything(rules: Any, words: list[str]) -> None:
    async with zoo(**rules) as ai:
        for call in (
            ai.index("memory/docs", ["a"]),
            ai.retrieve("memory/docs", "a"),
            ai.delete("memory/docs", filter={}),
        ):
            with pytest.raises(GenkitError) as caught:
                await call
            assert caught.value.status == "PERMISSION_DENIED"
            for word in words:
                assert word in str(caught.value)


def test_a_rule_of_the_wrong_kind_is_refused_at_once() -> None:
    with pytest.raises(GenkitError, match="required_filter"):
        zoo(required_filter="tenant")
    with pytest.raises(GenkitError, match=r"\$gtee"):
        zoo(required_filter={"a": {"$gtee": 1}})
    with pytest.raises(GenkitError, match="required_namespace"):
        zoo(required_namespace=3)


async def test_the_context_of_a_flow_reaches_the_rule() -> None:
    async with zoo(required_namespace=lambda ctx: ctx.context["tenant"]) as ai:

        @ai.flow
        async def search(query: str) -> list[str]:
            return [document.text for document in await ai.retrieve("memory/docs", query)]

        await ai.index("memory/docs", ["a fox of ada"], context={"tenant": "ada"})
        assert await search("fox", context={"tenant": "ada"}) == ["a fox of ada"]
        assert await search("fox", context={"tenant": "bob"}) == []
