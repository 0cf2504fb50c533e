"""The screen Playground in a browser: its numbers are the app's."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from genkit_rag._server.datasets import DatasetStore
from tests.browser.conftest import Dev, Walk
from tests.browser.stores import dev as dev
from tests.browser.stores import result
from tests.browser.stores_app import HOSTILE

pytestmark = [pytest.mark.network, pytest.mark.browser]

HYBRID = {"retriever": "faiss/docs", "mode": "hybrid", "k": 8}
RERANKED = {"retriever": "faiss/docs", "mode": "vector", "k": 8, "reranker": "play/overlap", "rerankK": 5}


def link(query: str, a: dict[str, Any], b: dict[str, Any] | None = None, **more: str) -> str:
    sides = {"a": json.dumps(a), "b": json.dumps(b or {"retriever": ""})}
    return f"/playground?{urlencode({'q': query, **sides, **more})}"


def hits(page: Any, side: str) -> list[str]:
    found: list[str] = page.locator(f"[data-side={side}] .hit").evaluate_all("all => all.map((one) => one.dataset.id)")
    return found


def ask(page: Any, dev: Dev, path: str) -> None:
    page.goto(dev.url + path)
    page.wait_for_selector("[data-side=a] .hit")
    page.wait_for_selector("#run:enabled")


def test_the_page_is_sound(walk: Walk) -> None:
    walk("/playground", "playground-empty", ready="#ask")
    walk(link("butter dough oven", HYBRID, RERANKED), "playground", ready="[data-side=b] .latency svg")


def test_its_numbers_are_the_retrievers_and_rerankers(page: Any, dev: Dev) -> None:
    ask(page, dev, link("butter dough oven", HYBRID, RERANKED))
    query = {"content": [{"text": "butter dough oven"}]}
    a = result(dev, "/retriever/faiss/docs", {"query": query, "options": {"k": 8, "mode": "hybrid"}})["documents"]
    assert hits(page, "a") == [one["metadata"]["id"] for one in a]
    scores = page.locator("[data-side=a] .hit-score").all_inner_texts()
    assert scores == [f"{one['metadata']['score']:.4f}" for one in a]
    for number, one in enumerate(a):
        legs = page.locator("[data-side=a] .hit").nth(number).locator("[data-leg]").all_inner_texts()
        for leg, score in one["metadata"]["scores"].items():
            assert any(text.startswith(f"{leg} #") and f" {score:.4f} " in text for text in legs), legs
    b = result(dev, "/retriever/faiss/docs", {"query": query, "options": {"k": 8, "mode": "vector"}})["documents"]
    ranked = result(dev, "/reranker/play/overlap", {"query": query, "documents": b, "options": {"k": 5}})["documents"]
    assert hits(page, "b") == [one["metadata"]["id"] for one in ranked]
    before = [one["metadata"]["id"] for one in b]
    for now, one in enumerate(ranked):
        was = before.index(one["metadata"]["id"])
        text = page.locator("[data-side=b] .hit").nth(now).locator(".hit-head").inner_text()
        assert f"retrieved #{was + 1}" in text
        assert ("↑" in text.split("retrieved")[1].split("A #")[0]) == (was > now)
    assert {"butter", "dough", "oven"} >= set(page.locator("[data-side=a] .hit mark").all_inner_texts()) > set()


def test_a_mark_lands_in_the_dataset_and_on_both_sides(page: Any, dev: Dev) -> None:
    ask(page, dev, link("sail rope", {**HYBRID, "k": 3}, {**HYBRID, "k": 3}, dataset="harbour"))
    first = hits(page, "a")[0]
    page.locator("[data-side=a] .hit").first.get_by_role("button", name=f"Relevant: {first}", exact=True).click()
    page.wait_for_selector('[data-side=b] .grade[aria-pressed="true"]')
    (row,) = DatasetStore(dev.root / ".genkit_rag").get("harbour").rows
    assert (row["query"], row["documentId"], row["grade"], row["retriever"]) == ("sail rope", first, 1, "faiss/docs")
    page.reload()
    page.wait_for_selector('[data-side=a] .grade[aria-pressed="true"]')


def test_the_prompt_that_would_be_sent_is_shown_with_its_tokens(page: Any, dev: Dev) -> None:
    ask(page, dev, link("comet orbit", {**HYBRID, "k": 3}))
    page.fill("#budget", "100")
    page.locator("[data-side=a]").get_by_role("button", name="Prompt").click()
    page.wait_for_selector("[data-side=a] .budget svg")
    shown = page.locator("[data-side=a] .prompt-view pre").all_inner_texts()
    query = {"content": [{"text": "comet orbit"}]}
    docs = result(dev, "/retriever/faiss/docs", {"query": query, "options": {"k": 3, "mode": "hybrid"}})["documents"]
    message = {"role": "user", "content": [{"text": "comet orbit"}]}
    sent = result(dev, "/util/render", {"messages": [message], "docs": docs})
    texts = [part["text"] for one in sent["messages"] for part in one["content"]]
    assert [text.rstrip("\n") for text in shown] == [text.rstrip("\n") for text in texts]
    tokens = sum(-(-len(text) // 4) for text in texts)
    assert page.inner_text("[data-side=a] [data-out=tokens]") == f"about {tokens}"
    assert "too many" in page.inner_text("[data-side=a] .budget")


def test_conditions_and_json_say_the_same(page: Any, dev: Dev) -> None:
    ask(page, dev, link("butter", {"retriever": "faiss/docs", "filter": {"topic": "sailing", "year": {"$gte": 2021}}}))
    side = page.locator("[data-side=a]")
    side.locator("summary").click()
    fields = side.get_by_label("Field", exact=True)
    assert fields.evaluate_all("all => all.map((one) => one.value)") == ["topic", "year"]
    side.get_by_role("button", name="Condition", exact=True).click()
    fields.nth(2).fill("tags")
    side.get_by_label("Operator").nth(2).select_option("$in")
    side.get_by_label("Value").nth(2).fill("long, short")
    wanted = {"topic": "sailing", "year": {"$gte": 2021}, "tags": {"$in": ["long", "short"]}}
    assert json.loads(side.get_by_label("As JSON").input_value()) == wanted
    page.click("#run")
    page.wait_for_selector("#run:enabled")
    asked = {"query": {"content": [{"text": "butter"}]}, "options": {"k": 10, "filter": wanted}}
    found = result(dev, "/retriever/faiss/docs", asked)["documents"]
    assert hits(page, "a") == [one["metadata"]["id"] for one in found]
    side.get_by_label("As JSON").fill('{"$or": [{"year": 2020}, {"year": 2021}]}')
    assert "edit it as JSON" in side.locator(".filter").inner_text()
    side.get_by_label("As JSON").fill("{")
    assert side.locator(".filter .problem").is_visible()


def test_the_address_is_a_deep_link_and_python_can_be_copied(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/playground")
    page.select_option("#a-retriever", "faiss/docs")
    page.select_option("#a-mode", "text")
    page.fill("#a-k", "3")
    page.select_option("#a-reranker", "play/overlap")
    page.fill("#query", 'it\'s "quoted" bread')
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-side=a] .hit")
    found = hits(page, "a")
    page.goto(page.url)
    page.wait_for_selector("[data-side=a] .hit")
    assert hits(page, "a") == found
    page.locator("[data-side=a]").get_by_role("button", name="Python").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    compile(copied, "copied", "exec", flags=0x2000)  # await at the top level
    assert 'await ai.retrieve("faiss/docs", "it\'s \\"quoted\\" bread", {"k": 3, "mode": "text"})' in copied
    assert 'await ai.rerank("play/overlap"' in copied


def test_a_retriever_that_is_no_store_and_one_that_fails_are_shown_too(page: Any, dev: Dev) -> None:
    plain = {"retriever": "play/plain", "k": 10}
    page.goto(dev.url + link("bread", plain, {"retriever": "memory/rules", "k": 3}))
    page.wait_for_selector("[data-side=a] .latency svg")
    assert "search" in page.locator("[data-side=a] .latency").inner_text()
    assert len(hits(page, "a")) == 4
    assert "required_filter" in page.locator("[data-side=b] .notice.error").inner_text()
    page.fill("#context", '{"tenant": "a"}')
    page.click("#run")
    page.wait_for_selector("[data-side=b] .hit")
    assert {one[0] for one in hits(page, "b")} == {"a"}


def test_hostile_documents_stay_text(page: Any, dev: Dev) -> None:
    ask(page, dev, link("img src script alert", {"retriever": "faiss/odd", "k": 2}))
    assert HOSTILE in hits(page, "a")
    assert page.locator("main img").count() == 0
    page.locator("[data-side=a]").get_by_role("button", name="Prompt").click()
    page.wait_for_selector("[data-side=a] .budget svg")
    assert page.locator("main img").count() == 0


def test_what_the_screen_runs_does_not_fill_the_list_of_traces(page: Any, dev: Dev) -> None:
    ask(page, dev, link("harbour tide", HYBRID, RERANKED))
    page.locator("[data-side=a]").get_by_role("button", name="Prompt").click()
    page.wait_for_selector("[data-side=a] .budget svg")
    mine = page.locator("[data-side=a] a:has-text('Trace')").get_attribute("href").removeprefix("/traces/")
    dev.wait_for_trace(mine)
    assert mine not in dev.http.get("/traces/rows").text
    assert mine in dev.http.get("/traces/rows?own=all").text
    asked = dev.run("/retriever/faiss/docs", {"query": {"content": [{"text": "tide"}]}})[0]["traceId"]
    assert asked in dev.http.get("/traces/rows").text


def test_the_budget_is_assumed_where_the_model_says_nothing(page: Any, dev: Dev) -> None:
    ask(page, dev, link("comet orbit", {**HYBRID, "k": 3}))
    assert page.inner_text("#budget-note") == "Empty: 4096 is assumed."
    page.evaluate("document.querySelector('#model').selectedOptions[0].dataset.window = '2048'")
    page.evaluate("document.querySelector('#model').dispatchEvent(new Event('change'))")
    assert "context" in page.inner_text("#budget-note")
    page.locator("[data-side=a]").get_by_role("button", name="Prompt").click()
    page.wait_for_selector("[data-side=a] .budget svg")
    assert "of 2048 tokens" in page.inner_text("[data-side=a] .budget")
    assert "An estimate: 4 characters count as a token." in page.inner_text("[data-side=a] .prompt-view")
