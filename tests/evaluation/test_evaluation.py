"""Evaluators as actions, and `ai.evaluate` from dataset to report."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import Genkit, GenkitError, ModelResponse
from genkit_rag.evaluation import EvalDataPoint, EvalFnResponse, EvalProgress, Evaluators, Score, ScoreDetails
from genkit_rag.testing import ScriptedModel

WIRE: dict[str, Any] = {
    "dataset": [{"input": 1, "output": "a", "testCaseId": "one"}, {"input": 2, "output": "b", "testCaseId": "two"}],
    "evalRunId": "run",
}


# -- the action


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        (True, {"score": True, "status": "PASS"}),
        (False, {"score": False, "status": "FAIL"}),
        (0.25, {"score": 0.25}),
        (3, {"score": 3}),
        ("good", {"score": "good"}),
        (
            Score(score=1, status="PASS", details=ScoreDetails(reasoning="so")),
            {"score": 1, "status": "PASS", "details": {"reasoning": "so"}},
        ),
        ({"score": 0.5, "status": "UNKNOWN"}, {"score": 0.5, "status": "UNKNOWN"}),
        ([Score(id="a", score=1), True], [{"id": "a", "score": 1}, {"score": True, "status": "PASS"}]),
        (EvalFnResponse(test_case_id="other", evaluation=Score(score=2)), {"score": 2}),
    ],
)
async def test_what_a_function_returns_becomes_genkits_answer(ai: Genkit, given: Any, wire: Any) -> None:
    action = ai.define_evaluator("own/check", lambda datapoint: given)
    answers = await action.run_json(WIRE)
    assert [answer["testCaseId"] for answer in answers] == ["one", "two"]
    assert [answer["evaluation"] for answer in answers] == [wire, wire]


async def test_a_function_takes_options_and_context(ai: Genkit) -> None:
    class Options(BaseModel):
        wanted: str = "a"

    @ai.evaluator("own/check", config_type=Options)
    async def check(datapoint: EvalDataPoint, options: Options, ctx: Any) -> bool:
        return datapoint.output == options.wanted and ctx.context == {"user": "ada"}

    found = await check.run_json({**WIRE, "options": {"wanted": "b"}}, context={"user": "ada"})
    assert [answer["evaluation"]["score"] for answer in found] == [False, True]
    found = await check.run_json(WIRE, context={"user": "ada"})
    assert [answer["evaluation"]["score"] for answer in found] == [True, False]
    with pytest.raises(GenkitError, match=r"\$\.wanted"):
        await check.run_json({**WIRE, "options": {"wanted": 3}})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None, object(), ValueError("it broke")])
async def test_a_row_that_fails_loses_no_other(ai: Genkit, wrong: Any) -> None:
    def check(datapoint: EvalDataPoint) -> Any:
        if datapoint.test_case_id == "one":
            if isinstance(wrong, Exception):
                raise wrong
            return wrong
        return 1.0

    one, two = await ai.define_evaluator("own/check", check).run_json(WIRE)
    assert one["evaluation"]["status"] == "UNKNOWN"
    assert one["evaluation"]["error"]
    assert two["evaluation"] == {"score": 1.0}


async def test_rows_run_at_the_same_time_but_never_too_many(ai: Genkit) -> None:
    running, most = 0, 0

    async def check(datapoint: EvalDataPoint) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return True

    report = await ai.evaluate(range(40), evaluators=[check], concurrency=5)
    assert most == 5
    assert report.metrics[0].n == 40


async def test_what_genkits_tools_send_beyond_the_schema_is_kept(ai: Genkit) -> None:
    seen: list[EvalDataPoint] = []
    action = ai.define_evaluator("own/check", lambda point: bool(seen.append(point) or True))
    point = {"input": None, "testCaseId": "x", "traceIds": ["t"], "custom": {"deep": None}}
    await action.run_json({"dataset": [point], "evalRunId": "r"})
    assert seen[0].to_wire() == point


async def test_a_row_without_an_id_gets_one_and_the_same_every_time(ai: Genkit) -> None:
    action = ai.define_evaluator("own/check", lambda point: True)
    raw = {"dataset": [{"input": "q"}, {"input": "q"}, {"input": "r"}], "evalRunId": "r"}
    ids = [answer["testCaseId"] for answer in await action.run_json(raw)]
    assert len(set(ids)) == 3
    assert ids == [answer["testCaseId"] for answer in await action.run_json(raw)]


async def test_every_evaluator_tells_genkits_tools_what_they_need(ai: Genkit) -> None:
    ai.define_evaluator("own/check", lambda point: True)
    listed = {item.key: item for item in await ai.registry.list_actions() if item.kind == "evaluator"}
    assert "/evaluator/own/check" in listed
    assert "/evaluator/builtin/ndcg@10" in listed
    for item in listed.values():
        assert item.metadata is not None
        facts = item.metadata["evaluator"]
        assert facts["evaluatorDisplayName"]
        assert facts["evaluatorDefinition"]
        assert isinstance(facts["evaluatorIsBilled"], bool)
        assert None not in item.metadata.values()
        made = await ai.registry.get("evaluator", item.name)
        assert made.metadata["evaluator"] == facts


async def test_each_data_point_has_a_span_that_the_answer_names(ai: Genkit, spans: Any) -> None:
    found = await ai.define_evaluator("own/check", lambda point: True).run_json(WIRE)
    cases = {span.name: span for span in spans.get_finished_spans()}
    for answer in found:
        context = cases[f"Test Case {answer['testCaseId']}"].context
        assert answer["spanId"] == format(context.span_id, "016x")
        assert answer["traceId"] == format(context.trace_id, "032x")


# -- targets


async def test_a_flow_is_run_on_every_input_and_its_retrievals_are_the_context(ai: Genkit) -> None:
    await ai.index("memory/docs", ["cats purr", "dogs bark"])

    @ai.flow
    async def answer(question: str) -> str:
        documents = await ai.retrieve("memory/docs", question, {"k": 1})
        return documents[0].text.upper()

    report = await ai.evaluate(
        [{"input": "cats", "reference": "CATS PURR"}, {"input": "dogs", "reference": "CATS"}],
        target="/flow/answer",
        evaluators=["builtin/exact_match"],
        name="first",
    )
    assert [row.output for row in report.rows] == ["CATS PURR", "DOGS BARK"]
    assert [row.data_point.context for row in report.rows] == [["cats purr"], ["dogs bark"]]
    assert [row.scores["builtin/exact_match"].status for row in report.rows] == ["PASS", "FAIL"]
    metric = report.metric("builtin/exact_match")
    assert (metric.mean, metric.pass_rate, metric.passed, metric.failed, metric.errors) == (0.5, 0.5, 1, 1, 0)
    assert (report.target, report.name, report.passed) == ("/flow/answer", "first", False)
    assert [row.test_case_id for row in report.failed_rows] == [report.rows[1].test_case_id]


async def test_a_retriever_that_asks_retrievers_notes_only_what_it_returns(ai: Genkit) -> None:
    await ai.index("memory/docs", ["cats purr", "dogs bark"])

    async def last(query: Any) -> Any:
        return (await ai.retrieve("memory/docs", query, {"k": 2}))[1:]

    ai.define_retriever("own/last", last)
    report = await ai.evaluate(["cats"], target="/retriever/own/last", evaluators=[])
    assert report.rows[0].data_point.context == ["dogs bark"]


async def test_a_retriever_is_measured_against_relevant_ids(ai: Genkit) -> None:
    from genkit_rag import Document

    await ai.index("memory/docs", [Document("cats purr", id="c"), Document("dogs bark", id="d")])
    report = await ai.evaluate(
        [{"input": "cats purr", "reference": ["c"]}, {"input": "cats", "reference": {"relevant": {"d": 2}}}],
        target="/retriever/memory/docs",
        target_options={"k": 2},
        evaluators=["builtin/recall@1", "builtin/mrr", "builtin/ndcg@2"],
    )
    assert report.metric("builtin/recall@1").mean == 0.5
    assert report.metric("builtin/mrr").mean == 0.75
    assert report.metric("builtin/ndcg@2").n == 2


async def test_models_prompts_and_functions_are_targets_too(ai: Genkit) -> None:
    model = ScriptedModel("test/echo", [lambda request: request.messages[-1].text] * 3)
    ai.registry.register(model.action)
    prompt = ai.define_prompt("ask", model="test/echo", prompt="Say {{word}}")
    report = await ai.evaluate(["hi"], target=model.action, evaluators=[], target_options={"temperature": 0})
    assert report.rows[0].output == "hi"
    assert model.requests[0].config == {"temperature": 0}
    report = await ai.evaluate([{"input": {"word": "hi"}}], target=prompt, evaluators=[])
    assert (report.rows[0].output, report.target) == ("Say hi", "/executable-prompt/ask")

    def twice(value: int) -> int:
        return value * 2

    report = await ai.evaluate([3], target=twice, evaluators=[])
    assert (report.rows[0].output, report.target) == (6, "twice")


async def test_stored_outputs_need_no_target(ai: Genkit) -> None:
    report = await ai.evaluate([{"output": "a", "reference": "a"}], evaluators=["builtin/exact_match"])
    assert report.passed
    assert report.target is None


async def test_a_row_whose_target_fails_is_withheld_from_evaluators_and_counted(ai: Genkit) -> None:
    async def answer(value: str) -> str:
        if value == "bad":
            raise ValueError("no")
        if value == "slow":
            await asyncio.sleep(30)
        return value

    seen: list[Any] = []
    report = await ai.evaluate(
        ["good", "bad", "slow"], target=answer, timeout=0.05, evaluators=[lambda point: bool(seen.append(point) or 1)]
    )
    assert [point.input for point in seen] == ["good"]
    assert [row.error for row in report.rows] == [
        None,
        "ValueError: no",
        "DEADLINE_EXCEEDED: the target took over 0.05 s",
    ]
    assert (report.metrics[0].n, report.metrics[0].errors) == (1, 2)
    assert not report.passed


async def test_an_evaluator_that_breaks_costs_only_its_own_scores(ai: Genkit) -> None:
    from genkit_rag.plugin_api import Action, ActionKind

    async def broken(request: Any, ctx: Any) -> Any:
        raise RuntimeError("down")

    report = await ai.evaluate(
        [{"output": "a", "reference": "a"}],
        evaluators=[Action(ActionKind.EVALUATOR, "own/broken", broken), "builtin/exact_match"],
    )
    assert report.metric("own/broken").errors == 1
    assert report.metric("builtin/exact_match").mean == 1
    assert report.rows[0].scores["own/broken"].error == "RuntimeError: down"


async def test_scores_with_ids_are_metrics_of_their_own(ai: Genkit) -> None:
    def both(point: EvalDataPoint) -> list[Score]:
        if point.input == 2:
            raise ValueError
        return [Score(id="a", score=1), Score(id="b", score=3)]

    report = await ai.evaluate([1, 2], evaluators=[both])
    assert [(m.name, m.n, m.mean, m.errors) for m in report.metrics] == [("both:a", 1, 1, 1), ("both:b", 1, 3, 1)]


async def test_a_trace_stands_on_every_row(ai: Genkit, spans: Any) -> None:
    @ai.flow
    async def answer(question: str) -> str:
        return question

    report = await ai.evaluate(["a", "b"], target=answer, evaluators=[], context={"user": "ada"})
    traces = {format(span.context.trace_id, "032x") for span in spans.get_finished_spans() if span.name == "answer"}
    assert {row.trace_id for row in report.rows} == traces
    assert len(traces) == 2


async def test_progress_is_told_row_by_row_and_stage_by_stage(ai: Genkit) -> None:
    seen: list[EvalProgress] = []
    await ai.evaluate(
        [1, 2], target=lambda x: x, evaluators=[("builtin/contains", {"values": ["1"]})], on_progress=seen.append
    )
    assert [(p.stage, p.done, p.total) for p in seen] == [
        ("<lambda>", 1, 2),
        ("<lambda>", 2, 2),
        ("builtin/contains", 1, 2),
        ("builtin/contains", 2, 2),
    ]


async def test_the_context_reaches_target_and_evaluators(ai: Genkit) -> None:
    from genkit_rag import current_context

    async def who(_: Any) -> Any:
        return current_context()["user"]

    def same(point: EvalDataPoint, ctx: Any) -> bool:
        return bool(ctx.context["user"] == point.output)

    report = await ai.evaluate([1], target=who, context={"user": "ada"}, evaluators=[same])
    assert report.passed
    assert report.rows[0].output == "ada"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"evaluators": ["builtin/exact"]}, "NOT_FOUND.*builtin/exact_match"),
        ({"evaluators": "builtin/exact_match"}, "`evaluators` must be a list"),
        ({"evaluators": ["builtin/mrr", "builtin/mrr"]}, "is there twice"),
        ({"evaluators": [("builtin/mrr", {"feild": 1})]}, r"\$\.feild"),
        ({"evaluators": [3]}, "`evaluators` must hold"),
        ({"evaluators": [], "target": "answer"}, "must be an action's key"),
        ({"evaluators": [], "target": "/flow/nope"}, "NOT_FOUND"),
        ({"evaluators": [], "target_options": {"k": 1}, "target": lambda x: x}, "are for retrievers and models"),
        ({"evaluators": [], "concurrency": 0}, "`concurrency`"),
        ({"evaluators": [], "timeout": float("nan")}, "`timeout`"),
        ({"evaluators": [], "timeout": "5"}, "`timeout`"),
        ({"evaluators": [], "seed": -1}, "`seed` must be a whole number from 0"),
        ({"evaluators": [], "seed": "x"}, "`seed`"),
        ({"evaluators": [], "name": 3}, "`name` must be text"),
        ({"evaluators": [], "on_progress": "x"}, "`on_progress` must be a function"),
    ],
)
async def test_a_wrong_option_is_refused_before_anything_runs(ai: Genkit, options: dict[str, Any], match: str) -> None:
    def target(value: Any) -> Any:
        raise AssertionError("it ran")

    with pytest.raises(GenkitError, match=match):
        await ai.evaluate(["a"], **{"target": target, **options})


async def test_a_cancelled_evaluation_cancels_its_rows(ai: Genkit) -> None:
    started, cancelled, running = asyncio.Event(), [], []

    async def answer(value: Any) -> None:
        running.append(value)
        if len(running) == 2:
            started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    task = asyncio.ensure_future(ai.evaluate([1, 2], target=answer, evaluators=[]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2]


# -- a judge


def judge(*answers: Any) -> ScriptedModel:
    return ScriptedModel("test/judge", [json.dumps(a) if isinstance(a, dict | list) else a for a in answers])


POINT = {"input": "Who?", "output": "Ada wrote it in 1843.", "context": ["Ada wrote it."], "reference": "Ada did."}


async def test_faithfulness_is_the_share_of_supported_claims() -> None:
    model = judge(
        {
            "claims": [
                {"claim": "Ada wrote it.", "reason": "stated", "supported": True},
                {"claim": "It was in 1843.", "reason": "not there", "supported": False},
            ]
        }
    )
    async with Genkit([Evaluators(judge="test/judge")]) as ai:
        ai.registry.register(model.action)
        report = await ai.evaluate([POINT], evaluators=[("builtin/faithfulness", {"threshold": 0.6})])
    score = report.rows[0].scores["builtin/faithfulness"]
    assert (score.score, score.status) == (0.5, "FAIL")
    assert "1843" in (score.reasoning or "")
    asked = json.loads(model.requests[0].messages[-1].content[0].text or "")
    assert asked == {"context": ["Ada wrote it."], "answer": "Ada wrote it in 1843."}
    assert model.requests[0].messages[0].role == "system"


async def test_relevance_and_correctness_are_computed_from_what_the_judge_fills_in() -> None:
    model = judge(
        {"reason": "most of it", "grade": 3}, {"agreeing": ["Ada wrote it."], "surplus": ["1843"], "missing": []}
    )
    async with Genkit(model=model.action) as ai:
        report = await ai.evaluate([POINT], evaluators=["builtin/answer_relevance", "builtin/answer_correctness"])
    scores = report.rows[0].scores
    assert scores["builtin/answer_relevance"].score == 0.75
    assert scores["builtin/answer_correctness"].score == pytest.approx(2 / 3)


async def test_a_judge_that_does_not_fill_in_the_schema_is_asked_again_then_gives_an_error() -> None:
    model = judge(
        "It is great! Score: 4/4.", {"reason": "", "grade": 9}, {"reason": "fine", "grade": 4}, "PASS", "PASS", "PASS"
    )
    async with Genkit(model=model.action) as ai:
        report = await ai.evaluate([POINT, POINT], evaluators=["builtin/answer_relevance"], concurrency=1)
    good, bad = (row.scores["builtin/answer_relevance"] for row in report.rows)
    assert good.score == 1.0
    assert (bad.score, bad.status) == (None, "UNKNOWN")
    assert bad.error
    assert len(model.requests) == 6


async def test_an_answer_without_a_claim_is_not_measured() -> None:
    async with Genkit(model=judge({"claims": []}).action) as ai:
        report = await ai.evaluate([POINT], evaluators=["builtin/faithfulness"])
    assert (report.metrics[0].n, report.metrics[0].unmeasured, report.metrics[0].mean) == (0, 1, None)


async def test_the_listed_evaluators_can_be_chosen() -> None:
    async with Genkit([Evaluators(listed=["recall@5"])]) as ai:
        names = [item.name for item in await ai.registry.list_actions() if item.kind == "evaluator"]
        assert names == ["builtin/recall@5"]
        assert (await ai.registry.get("evaluator", "builtin/map")).name == "builtin/map"
    for wrong in (["recal"], "recall", ["recall@0"]):
        with pytest.raises(GenkitError, match="`listed`"):
            Evaluators(listed=wrong)


async def test_a_response_says_which_citations_it_knows(ai: Genkit) -> None:
    model = ScriptedModel("test/model", ["Cats purr all day [1]. Dogs bark at night [7]."])

    async def answer(question: str) -> ModelResponse:
        return await ai.generate(question, model=model.action, docs=["cats purr"])

    report = await ai.evaluate(
        ["?"], target=answer, evaluators=["builtin/citation_validity", "builtin/citation_coverage"]
    )
    scores = report.rows[0].scores
    assert scores["builtin/citation_validity"].score == 0.5
    assert "7" in (scores["builtin/citation_validity"].reasoning or "")
    assert scores["builtin/citation_coverage"].score == 0.5


async def test_an_input_can_be_a_whole_request(ai: Genkit) -> None:
    await ai.index("memory/docs", ["cats purr", "dogs bark"])
    report = await ai.evaluate(
        [{"input": {"query": {"content": [{"text": "cats"}]}, "options": {"k": 1}}}, {"input": {"query": "dogs"}}],
        target="/retriever/memory/docs",
        target_options={"k": 2},
        evaluators=[],
    )
    assert [len(row.output["documents"]) for row in report.rows] == [1, 2]
    model = ScriptedModel("test/model", ["fine"])
    request = {"messages": [{"role": "user", "content": [{"text": "How?"}]}]}
    report = await ai.evaluate([{"input": request}], target=model.action, evaluators=[])
    assert report.rows[0].output == "fine"


async def test_documents_that_a_function_returns_are_a_ranking(ai: Genkit) -> None:
    from genkit_rag import Document

    report = await ai.evaluate(
        [{"input": "?", "reference": "b"}],
        target=lambda _: [Document("a", id="a"), Document("b", id="b")],
        evaluators=["builtin/mrr"],
    )
    assert report.metrics[0].mean == 0.5


async def test_equal_ids_are_told_apart(ai: Genkit) -> None:
    for ids in (["x", "x-2", "x"], ["x", "x", "x-2"]):
        report = await ai.evaluate([{"input": 1, "testCaseId": id} for id in ids], evaluators=[lambda point: True])
        assert len({row.test_case_id for row in report.rows}) == 3
        assert report.metrics[0].n == 3


async def test_what_a_listener_raises_ends_the_evaluation(ai: Genkit) -> None:
    def listen(progress: EvalProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ai.evaluate([1, 2, 3], target=lambda x: x, evaluators=[], on_progress=listen)
    with pytest.raises(ZeroDivisionError):  # and while an evaluator runs, it is not the evaluator's error
        await ai.evaluate([1, 2, 3], evaluators=[lambda point: True], on_progress=listen)


async def test_a_timeout_of_the_targets_own_is_not_taken_for_the_evaluations(ai: Genkit) -> None:
    def ask(value: Any) -> Any:
        raise TimeoutError("the database is locked")

    report = await ai.evaluate([1], target=ask, evaluators=[], timeout=60)
    assert report.rows[0].error == "TimeoutError: the database is locked"


async def test_no_rows_have_not_passed(ai: Genkit) -> None:
    assert not (await ai.evaluate([], evaluators=[lambda point: True])).passed
