from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import (
    ActionContext,
    Document,
    EmbedderInfo,
    Genkit,
    GenkitError,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    Plugin,
)
from genkit_rag.ingest import IngestOptions
from genkit_rag.plugin_api import ModelAction, ModelSupports, model_action
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_memory import Memory


def made() -> Genkit:
    return Genkit(plugins=[FakeEmbedder(), Memory(["docs"], embedder="fake/words")])


async def echo(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    return ModelResponse(message=Message.model(f"heard: {request.messages[-1].text}"), finish_reason="stop")


class Closing(Plugin):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    async def close(self) -> None:
        self.log.append(self.name)


async def test_the_calls_of_the_readme_work_together() -> None:
    ai = made()
    ai.define_model("echo", echo)
    response = await ai.index(indexer="memory/docs", documents=["cats purr", Document("dogs bark", id="dogs")])
    assert response.ids[1] == "dogs"
    docs = await ai.retrieve(retriever="memory/docs", query="who barks? dogs", options={"limit": 1})
    assert [d.id for d in docs] == ["dogs"]
    assert docs.documents == docs
    assert (docs[0].rank, docs[0].retriever) == (0, "memory/docs")
    answer = await ai.generate("Who barks?", model="echo", docs=docs)
    assert "dogs bark" in answer.text
    assert "dogs bark" not in answer.request.messages[-1].text  # type: ignore[union-attr]
    assert await ai.delete("memory/docs", ids=["dogs"]) == 1


async def test_a_model_may_be_given_as_an_action() -> None:
    action: ModelAction = model_action("own/echo", echo)
    ai = Genkit(model=action)
    assert ai.model == "own/echo"
    assert (await ai.generate("hi")).text == "heard: hi"


def test_run_main_returns_the_result_and_closes_plugins_in_reverse_order() -> None:
    log: list[str] = []
    ai = Genkit(plugins=[Closing("first", log), Closing("second", log)])

    async def main() -> int:
        return 7

    assert ai.run_main(main()) == 7
    assert log == ["second", "first"]


async def test_plugins_are_closed_when_the_block_is_left_by_an_error() -> None:
    log: list[str] = []
    with pytest.raises(RuntimeError):
        async with Genkit(plugins=[Closing("only", log)]):
            raise RuntimeError
    assert log == ["only"]


async def test_two_plugins_of_one_name_are_refused() -> None:
    with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
        Genkit(plugins=[Memory(["a"]), Memory(["b"])])


async def test_embedding_gives_one_list_for_each_document_in_order() -> None:
    ai = made()
    one = await ai.embed("fake/words", "cats purr")
    many = await ai.embed_many("fake/words", ["dogs bark", "cats purr"])
    assert len(one) == 1
    assert [len(item) for item in many] == [1, 1]
    np.testing.assert_allclose(many[1][0].embedding, one[0].embedding, rtol=1e-6)
    assert await ai.embed_many("fake/words", []) == []


async def test_an_embedder_sees_whether_a_text_is_a_query() -> None:
    seen: list[str] = []
    ai = Genkit(plugins=[Memory(["docs"], embedder="two-sided")])

    @ai.embedder("two-sided", info=EmbedderInfo(dimensions=2))
    async def embed(documents: list[Document], options: object) -> list[list[float]]:
        seen.append(options.task)  # type: ignore[attr-defined]
        return [[1.0, 0.5] for _ in documents]

    await ai.index("memory/docs", ["x"])
    await ai.retrieve("memory/docs", "x")
    assert seen == ["document", "query"]


async def test_ingesting_twice_embeds_nothing_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.md").write_text(f"# Page {number}\n\nText of page {number}.\n")
    options = IngestOptions(base=tmp_path)
    embedder = FakeEmbedder()
    async with Genkit(plugins=[embedder, Faiss(["docs"], path=tmp_path / "store", embedder="fake/words")]) as ai:
        first = await ai.ingest(tmp_path / "in", indexer="faiss/docs", options=options)
        calls = len(embedder.calls)
        (tmp_path / "in" / "1.md").unlink()
        second = await ai.ingest(tmp_path / "in", indexer="faiss/docs", options=options)
        assert (first.added, first.chunks_added) == (3, 3)
        assert (second.unchanged, second.removed, second.chunks_added) == (2, 1, 0)
        assert len(embedder.calls) == calls
        found = await ai.retrieve("faiss/docs", "page 2", {"k": 1})
        assert found[0].metadata["source"] == "in/2.md"
        assert await (await ai.store("faiss/docs")).count() == 2


async def test_what_is_not_there_is_named_with_what_is() -> None:
    ai = made()
    with pytest.raises(GenkitError, match="Did you mean `memory/docs`") as caught:
        await ai.retrieve("memory/doc", "x")
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(
        GenkitError, match=r"no plugin named `chroma` is loaded.*`Chroma\(\)`.*Registered indexers: `memory/docs`"
    ):
        await ai.store("chroma/docs")
    with pytest.raises(GenkitError, match="Unknown reranker `x`"):
        await ai.rerank("x", "q", [])


async def test_the_same_question_in_another_namespace_finds_nothing() -> None:
    ai = made()
    await ai.index("memory/docs", ["cats purr"], {"namespace": "mine"})
    assert len(await ai.retrieve("memory/docs", "cats", {"namespace": "mine"})) == 1
    assert await ai.retrieve("memory/docs", "cats", {"namespace": "yours"}) == []


async def test_the_options_of_the_output_reach_the_model() -> None:
    seen: list[ModelRequest] = []

    async def model(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        seen.append(request)
        return ModelResponse(message=Message.model("{}"), finish_reason="stop")

    ai = Genkit()
    ai.define_model("m", model, info=ModelInfo(supports=ModelSupports(output=["json"], constrained="all")))
    await ai.generate("x", model="m", output_format="json")
    assert seen[0].output is not None
    assert seen[0].output.format == "json"
    await ai.generate("x", model="m", output_schema=dict, output_constrained=False, output_instructions="Only JSON!")
    assert seen[1].output is not None
    assert not seen[1].output.constrained
    assert "Only JSON!" in seen[1].messages[-1].text


def test_the_types_of_generate_name_every_option() -> None:
    from genkit_rag._generation.generate import GenerateKwargs, GenerateOptions

    named = {"prompt", "output_schema"}  # the overloads name these
    assert GenerateKwargs.__annotations__.keys() == GenerateOptions.__dataclass_fields__.keys() - named


@pytest.mark.parametrize(
    ("mistake", "fix"),
    [
        (lambda: Genkit(plugins=FakeEmbedder()), "plugins=[MiniLM()]"),
        (lambda: Genkit().run_main(print), "ai.run_main(main())"),
        (lambda: Genkit().prompt("ask"), "await ai.get_prompt('ask')"),
    ],
)
def test_a_slip_of_a_first_hour_is_named_with_its_fix(mistake: Callable[[], Any], fix: str) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT") as raised:
        mistake()
    assert fix in (raised.value.hint or "")
