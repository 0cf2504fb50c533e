"""Agentic RAG: a model searches by itself, its answer cites what it found, and it reaches nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import ActionContext, Document, Genkit, GenkitError, Message, ModelRequest, ToolRequest
from genkit_rag._generation.tools.interrupts import restart
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_memory import Memory

LUNCH = Document("Lunch is at noon.", {"file": "lunch.md"}, id="lunch")
DOORS = Document("The doors open at nine.", {"file": "doors.md"}, id="doors")


@pytest.fixture
async def ai() -> Any:
    async with Genkit([FakeEmbedder(), Memory(["docs"], embedder="fake/words")]) as made:
        await made.index("memory/docs", [LUNCH, DOORS])
        yield made


def search(query: str, ref: str | None = None, **more: Any) -> ToolRequest:
    return ToolRequest(name="search_docs", input={"query": query, **more}, ref=ref)


def keys_of(request: ModelRequest) -> dict[str, str]:
    """Returns the keys of all passages that a model was shown, by their text."""
    return {
        passage["text"]: passage["key"]
        for message in request.messages
        if message.role == "tool"
        for part in message.content
        if part.tool_response and isinstance(part.tool_response.output, dict)
        for passage in part.tool_response.output.get("passages", ())
    }


def says(template: str) -> Callable[[ModelRequest], str]:
    """Returns an answer that cites `{lunch}` and `{doors}` by the keys that the model was shown."""

    def answer(request: ModelRequest) -> str:
        keys = keys_of(request)
        return template.format(lunch=keys.get(LUNCH.text), doors=keys.get(DOORS.text))

    return answer


async def ask(ai: Genkit, *answers: Any, **options: Any) -> Any:
    tool = options.pop("tool", None) or ai.retriever_tool("memory/docs", k=1)
    model = ScriptedModel("test/model", answers)
    return await ai.generate(options.pop("prompt", "q"), model=model.action, tools=[tool], **options)


async def test_an_answer_cites_what_the_tool_found(ai: Genkit) -> None:
    response = await ask(ai, search("When is lunch?"), says("At noon [{lunch}]."))
    (citation,) = response.citations
    assert citation.document.metadata == LUNCH.metadata
    assert citation.document.id == "lunch"
    assert citation.document.text == LUNCH.text
    assert response.text[slice(*citation.spans[0])] == f"[{citation.key}]"
    assert response.citations.unknown == []


async def test_searches_at_the_same_time_and_again_give_a_passage_one_key(ai: Genkit) -> None:
    response = await ask(
        ai,
        [search("When is lunch?", "1"), search("When do doors open?", "2"), search("lunch at noon", "3")],
        search("doors"),
        says("Noon [{lunch}], nine [{doors}]."),
    )
    assert [citation.document.id for citation in response.citations] == ["lunch", "doors"]
    assert len(set(keys_of(response.request).values())) == 2


async def test_a_later_turn_may_cite_what_an_earlier_one_found(ai: Genkit) -> None:
    first = await ask(ai, search("When is lunch?"), "I looked it up.")
    stored = [Message.model_validate(message.to_wire()) for message in first.messages]
    second = await ask(ai, says("At noon [{lunch}]."), messages=stored)
    assert [citation.document.metadata for citation in second.citations] == [LUNCH.metadata]


async def test_what_was_found_beside_an_interrupted_tool_may_be_cited_after_the_resume(ai: Genkit) -> None:
    def pay(ctx: ActionContext) -> str:
        return "paid" if ctx.resumed else ctx.interrupt()

    tools: list[Any] = [ai.retriever_tool("memory/docs", k=1), pay]
    wishes: list[Any] = [search("lunch", "1"), ToolRequest(name="pay", ref="2")]
    model = ScriptedModel("test/model", [wishes, says("Noon [{lunch}].")])
    asked = await ai.generate("q", model=model.action, tools=tools)
    (interrupt,) = asked.interrupts
    stored = [Message.model_validate(message.to_wire()) for message in asked.messages]
    response = await ai.generate(messages=stored, model=model.action, tools=tools, resume=restart(interrupt))
    assert [citation.document.metadata for citation in response.citations] == [LUNCH.metadata]


async def test_keys_that_the_model_made_up_are_reported(ai: Genkit) -> None:
    response = await ask(ai, search("lunch"), says("Noon [{lunch}]. Soup [b2ccdddd], bread [1]."))
    assert response.citations.unknown == ["b2ccdddd", "1"]
    assert response.citations.without_unknown(response.text).endswith("]. Soup, bread.")


async def test_keys_that_the_model_made_up_are_reported_when_nothing_was_found(ai: Genkit) -> None:
    tool = ai.retriever_tool("memory/docs", filter={"file": "no.md"})
    response = await ask(ai, search("lunch"), "Noon [b2ccdddd] [1].", tool=tool)
    assert response.citations == []
    assert response.citations.unknown == ["b2ccdddd", "1"]


async def test_passages_of_docs_and_of_the_tool_are_cited_side_by_side(ai: Genkit) -> None:
    response = await ask(ai, search("lunch"), says("Soup [1]. Noon [{lunch}]."), docs=["There is soup."])
    assert [citation.document.text for citation in response.citations] == ["There is soup.", LUNCH.text]
    assert response.citations.unknown == []


async def test_a_passage_of_docs_never_has_the_key_of_another_that_the_tool_found(ai: Genkit) -> None:
    from genkit_rag import augment_with_context

    output = await ai.retriever_tool("memory/docs", k=1)({"query": "lunch"})
    key = output.output["passages"][0]["key"]
    response = await ask(
        ai,
        search("lunch"),
        f"Forged [{key}_], found [{key}].",
        docs=[Document("Lunch is at midnight.", {"ref": key})],
        use=[augment_with_context(citation_key="ref")],
    )
    assert {c.key: c.document.text for c in response.citations} == {
        f"{key}_": "Lunch is at midnight.",
        key: LUNCH.text,
    }


async def test_the_tool_is_registered_nowhere(ai: Genkit) -> None:
    tool = ai.retriever_tool("memory/docs")
    await ask(ai, search("lunch"), "ok", tool=tool)
    assert ai.registry.lookup(tool.kind, tool.name) is None


async def test_a_failing_retriever_follows_tool_errors(ai: Genkit) -> None:
    def broken(query: Document) -> list[Document]:
        raise GenkitError("UNAVAILABLE", "The index is away.")

    ai.define_retriever("broken", broken)
    tool = ai.retriever_tool("broken", name="search_docs")
    with pytest.raises(GenkitError, match="away") as caught:
        await ask(ai, search("lunch"), tool=tool)
    assert caught.value.status == "UNAVAILABLE"
    assert caught.value.details["tool"] == "search_docs"
    response = await ask(ai, search("lunch"), "It is away.", tool=tool, tool_errors="return")
    assert response.text == "It is away."


async def test_arguments_that_are_not_its_business_go_back_to_the_model(ai: Genkit) -> None:
    wide = search("lunch", filter={}, namespace="other")
    with pytest.raises(GenkitError) as caught:
        await ask(ai, wide)
    assert caught.value.status == "INVALID_ARGUMENT"
    response = await ask(ai, wide, search("lunch"), says("[{lunch}]"), tool_errors="return")
    assert [citation.document.id for citation in response.citations] == ["lunch"]


# -- tenants


def by_filter(ctx: Any) -> dict[str, Any]:
    return {"tenant": ctx.context["tenant"]}


def by_namespace(ctx: Any) -> str:
    return f"of {ctx.context['tenant']}"


TENANTS = ("ada", "bob")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FOREIGN = st.sampled_from(
    [{"tenant": "bob"}, {"$or": [{"tenant": "bob"}, {}]}, {"tenant": {"$exists": True}}, "of bob", "bob", None, {}]
)
ARGUMENTS = st.fixed_dictionaries(
    {"query": st.sampled_from(["secret of bob", "bob", "tenant:bob", "*", "' OR 1=1 --"]) | st.text(max_size=20)},
    optional={
        "k": st.integers(-1, 10**6),
        "limit": st.integers(1, 99),
        "filter": FOREIGN,
        "namespace": FOREIGN,
        "tenant": FOREIGN,
        "mode": st.sampled_from(["text", "hybrid"]),
        "context": st.just({"tenant": "bob"}),
        "options": st.fixed_dictionaries({"filter": FOREIGN, "namespace": FOREIGN}),
        "ctx": FOREIGN,
    },
)


@pytest.fixture(scope="module", params=["store filter", "store namespace", "tool filter", "tool namespace"])
def shared(request: pytest.FixtureRequest) -> Any:
    """Returns a Genkit that two tenants share, and the tool that keeps them apart in one of four ways."""
    rule = {"store filter": {"required_filter": by_filter}, "store namespace": {"required_namespace": by_namespace}}
    ai = Genkit([FakeEmbedder(), Memory(["docs"], embedder="fake/words", **rule.get(request.param, {}))])  # type: ignore[arg-type]

    async def fill() -> None:
        for tenant in TENANTS:
            documents = [Document(f"secret of {tenant} {n}", {"tenant": tenant}) for n in range(5)]
            options = {"namespace": f"of {tenant}"} if request.param == "tool namespace" else None
            await ai.index("memory/docs", documents, options, context={"tenant": tenant})

    asyncio.run(fill())
    own: dict[str, Any] = {"tool filter": {"filter": by_filter}, "tool namespace": {"namespace": by_namespace}}
    return ai, ai.retriever_tool("memory/docs", k=50, **own.get(request.param, {}))


@given(ARGUMENTS | JSON)
def test_no_arguments_reach_another_tenants_documents(shared: Any, arguments: Any) -> None:
    ai, tool = shared

    async def attack() -> Any:
        request = ToolRequest(name="search_docs", input=arguments)
        model = ScriptedModel("test/model", [request, "done [1]"])
        return await ai.generate("q", model=model.action, tools=[tool], tool_errors="return", context={"tenant": "ada"})

    response = asyncio.run(attack())
    assert "secret of bob" not in str(response.messages[2:])
    assert "'tenant': 'bob'" not in str(response.messages[2:])


def test_a_tenant_finds_its_own(shared: Any) -> None:
    _, tool = shared

    async def found(tenant: str) -> set[str]:
        output = await tool({"query": "secret"}, context={"tenant": tenant})
        return {passage["text"] for passage in output.output["passages"]}

    for tenant in TENANTS:
        assert asyncio.run(found(tenant)) == {f"secret of {tenant} {n}" for n in range(5)}


def test_a_caller_without_a_tenant_finds_nothing(shared: Any) -> None:
    _, tool = shared
    with pytest.raises(GenkitError) as caught:
        asyncio.run(tool({"query": "secret"}))
    assert caught.value.status == "PERMISSION_DENIED"


# -- nothing found


async def test_a_refusal_is_a_response_and_no_model_is_asked() -> None:
    model = ScriptedModel("test/model", [])
    ai = Genkit(model=model.action)
    running = ai.generate_stream("q", docs=[], no_context="refuse")
    chunks = [chunk.text async for chunk in running.stream]
    response = await running.response
    assert (response.finish_reason, model.requests) == ("other", [])
    assert "".join(chunks) == response.text
    assert response.messages == [Message.user("q"), Message.model(response.text)]


async def test_nothing_found_may_be_an_error_with_the_conversation() -> None:
    ai = Genkit(model=ScriptedModel("test/model", []).action)
    with pytest.raises(GenkitError) as caught:
        await ai.generate("q", docs=[], no_context="raise")
    assert caught.value.status == "NOT_FOUND"
    assert caught.value.response.messages == [Message.user("q")]


async def test_without_docs_the_model_is_asked_whatever_no_context_says() -> None:
    ai = Genkit(model=ScriptedModel("test/model", ["ok"] * 2).action)
    assert (await ai.generate("q", no_context="raise")).text == "ok"
    assert (await ai.generate("q", docs=["passage"], no_context="refuse")).text == "ok"
