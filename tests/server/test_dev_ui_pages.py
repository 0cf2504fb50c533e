"""The pages of the shell, the actions and the traces, as the server renders them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import ActionContext, Document, Genkit, ModelRequest, ModelResponse
from genkit_rag._server.datasets import DatasetStore
from genkit_rag._server.dev_ui.ui import FOLDER
from genkit_rag._server.telemetry import otlp
from genkit_rag._server.telemetry.wire import SpanData
from tests.server.dev_ui import BASE, TRACE, Pages, action, demo, document, open_pages, reflected, span
from tests.server.hostile import assert_hostile_requests_are_refused

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onfocus='alert(1)",
    "</pre></textarea></template></title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "<a href=javascript:alert(1)>",
    "</script><script>alert(1)",
    "<!--<script>",
    "]]><x>",
    "\u2028\u202e\ufeff",
    "&lt;b&gt;",
    "<style>*{}</style>",
]
ALL = " ".join(HOSTILE)
OURS = {
    "html",
    "head",
    "meta",
    "title",
    "link",
    "script",
    "body",
    "a",
    "header",
    "svg",
    "rect",
    "path",
    "text",
    "span",
    "p",
    "button",
    "nav",
    "ul",
    "li",
    "ol",
    "main",
    "div",
    "h1",
    "h2",
    "h3",
    "form",
    "label",
    "input",
    "select",
    "option",
    "section",
    "details",
    "summary",
    "textarea",
    "pre",
    "code",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "dl",
    "dt",
    "dd",
    "time",
    "mark",
    "noscript",
    "template",
    "dialog",
    "datalist",
}


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    async with open_pages(tmp_path) as made:
        yield made


class Parsed(HTMLParser):
    """What a browser would make of a page; the texts of all elements are joined."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_only_ours(html: str) -> Parsed:
    page = Parsed(html)
    for tag, attributes in page.tags:
        assert tag in OURS, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        if tag == "script":
            assert str(attributes.get("src", "")).startswith("/static/"), attributes
        for name in ("href", "src", "action"):
            assert str(attributes.get(name) or "/").startswith(("/", "#")), attributes
    return page


async def test_no_route_answers_the_hostile_page(pages: Pages) -> None:
    assert await assert_hostile_requests_are_refused(pages.guard) > 5000


async def test_every_response_forbids_scripts_of_others(pages: Pages) -> None:
    for path in ("/traces", "/static/app.css", "/nowhere", "/ui/runtime"):
        policy = (await pages.http.get(path)).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy


async def test_the_navigation_has_the_screens_and_says_where_one_is(pages: Pages) -> None:
    page = assert_only_ours(await pages.page("/traces"))
    links = [attributes for tag, attributes in page.tags if tag == "a" and "/" in str(attributes.get("href"))]
    assert [one["href"] for one in links if "aria-current" in one] == ["/traces"]
    hrefs = [str(one["href"]) for one in links]
    assert hrefs.index("/actions") < hrefs.index("/traces")


async def test_without_an_app_pages_say_how_to_start_one(pages: Pages) -> None:
    html = await pages.page("/actions", 503)
    assert "genkit-rag start -- python app.py" in html
    assert "No app connected" in html
    answer = await pages.http.get("/ui/actions")
    assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE")
    assert (await pages.http.get("/ui/runtime")).json() == {"runtime": None, "others": []}
    assert "No traces yet" in await pages.page("/traces")


async def test_a_missing_page_is_a_page_or_json(pages: Pages) -> None:
    assert "Not found" in await pages.page("/nowhere", 404)
    assert "There is no such trace" in await pages.page(f"/traces/{TRACE}", 404)
    assert (await pages.http.get("/nowhere")).json()["status"] == "NOT_FOUND"
    assert (await pages.http.post("/traces", json={})).status_code == 405


async def test_a_page_that_fails_says_nothing_of_the_inside(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("secret-4711")

    monkeypatch.setattr(pages.store, "list_traces", broken)
    html = await pages.page("/traces", 500)
    assert "secret-4711" not in html
    assert "the log of the server" in html


def test_pages_need_nothing_from_elsewhere() -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg")]
    assert len(files) > 20
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "| safe" not in text, path
        if path.suffix == ".html":
            assert " style=" not in text, path
            assert "<script>" not in text, path
            assert " onclick=" not in text, path
        if path.suffix == ".js":
            assert "innerHTML" not in text, path
            assert "outerHTML" not in text, path
            assert "document.write" not in text, path
            assert "eval(" not in text, path


# -- actions


@pytest.mark.network
async def test_the_actions_of_the_app_are_grouped_and_searched(pages: Pages, ai: Genkit) -> None:
    async with reflected(demo(ai).registry, pages.root):
        everything = assert_only_ours(await pages.page("/actions"))
        hrefs = [str(attributes.get("href")) for tag, attributes in everything.tags if tag == "a"]
        assert {"/actions/flow/counts", "/actions/retriever/memory/docs", "/actions/embedder/fake/words"} <= set(hrefs)
        found = await pages.page("/actions?q=memdoc+retriever")
        assert "/actions/retriever/memory/docs" in found
        assert "/actions/flow/counts" not in found
        assert "No action matches" in await pages.page("/actions?q=zzzzzz")


@pytest.mark.network
@pytest.mark.parametrize(
    ("key", "sample"),
    [
        ("/retriever/memory/docs", {"query": {"content": [{"text": "How does it work?"}]}, "options": {"k": 5}}),
        ("/embedder/fake/words", {"input": [{"content": [{"text": "A text to embed."}]}]}),
        ("/flow/asks", {"question": ""}),
        ("/flow/counts", 0),
    ],
)
async def test_an_action_comes_with_an_input_that_it_takes(pages: Pages, ai: Genkit, key: str, sample: Any) -> None:
    async with reflected(demo(ai).registry, pages.root):
        html = await pages.page(f"/actions{key}")
        text = html.split('autocomplete="off">', 1)[1].split("</textarea>")[0]
        assert json.loads(Parsed(text).text) == sample
        answer = await pages.http.post("/ui/run", json={"key": key, "input": sample})
        assert "result" in json.loads(answer.text.splitlines()[-1])
        assert "Not found" in await pages.page("/actions/flow/none", 404)


@pytest.mark.network
async def test_the_form_knows_the_options_of_a_retriever(pages: Pages, ai: Genkit) -> None:
    async with reflected(ai.registry, pages.root):
        html = await pages.page("/actions/retriever/memory/docs")
    schema = json.loads(Parsed(html.split('<template id="schema">')[1].split("</template>")[0]).text)
    assert {"k", "filter", "namespace"} <= set(schema["properties"]["options"]["properties"])


@pytest.mark.network
async def test_a_run_is_streamed_line_by_line_and_refused_before_it_begins(pages: Pages, ai: Genkit) -> None:
    async with reflected(demo(ai).registry, pages.root):
        answer = await pages.http.post("/ui/run", json={"key": "/flow/counts", "input": 2})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [next(iter(line)) for line in lines] == ["traceId", "chunk", "chunk", "result"]
        wrong = await pages.http.post("/ui/run", json={"key": "/flow/counts", "input": "x"})
        assert (wrong.status_code, wrong.json()["status"]) == (400, "INVALID_ARGUMENT")
        for body in ({}, {"key": 1}, {"key": "/flow/counts", "context": []}):
            assert (await pages.http.post("/ui/run", json=body)).status_code == 400
        assert (await pages.http.post("/ui/cancel", json={"traceId": "0" * 32})).json() == {"cancelled": False}
        assert (await pages.http.post("/ui/cancel", json={})).status_code == 400


@pytest.mark.network
async def test_hostile_names_descriptions_and_schemas_stay_text(pages: Pages, ai: Genkit) -> None:
    names = [one.replace(" ", "_").replace("/", "|") for one in HOSTILE if ord(one[0]) < 256]
    for name in names:
        ai.define_flow(_echo, name=name, description=ALL)
    async with reflected(ai.registry, pages.root, name="app", genkitVersion=ALL):
        page = assert_only_ours(await pages.page("/actions"))
        assert all(name in page.text for name in names)
        links = [
            str(attributes["href"])
            for tag, attributes in page.tags
            if tag == "a" and "/flow/" in str(attributes.get("href"))
        ]
        assert len(links) == len(names)
        for link in links:
            assert ALL in assert_only_ours(await pages.page(link)).text


async def _echo(value: str) -> str:
    return value


# -- traces


def a_retrieval(pages: Pages, **more: Any) -> None:
    found = [document(one, f"{one} tokens are revoked", score=1 - place / 10) for place, one in enumerate("abcd")]
    query = {"content": [{"text": "How are tokens revoked?"}]}
    ranked = [document(one, "", score=9.0) for one in "cab"]
    pages.store.save(
        [
            span(
                1,
                name="ask",
                attributes=action("flow", "ask", input={"q": ALL}, output="answer"),
                start=1,
                end=100,
                **more,
            ),
            span(
                2,
                1,
                attributes=action("retriever", "s/docs", input={"query": query}, output={"documents": found}),
                start=10,
                end=20,
            ),
            span(
                3,
                1,
                attributes=action(
                    "reranker", "s/rank", input={"query": query, "documents": found}, output={"documents": ranked}
                ),
                start=30,
                end=40,
            ),
            span(
                4,
                1,
                attributes=action(
                    "model",
                    "m",
                    input={"messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
                    output={
                        "message": {
                            "role": "model",
                            "content": [{"text": "Hi"}, {"media": {"url": "https://x.example/i.png"}}],
                        }
                    },
                    **{"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3},
                ),
                start=50,
                end=90,
            ),
        ]
    )


async def test_the_list_filters_and_pages(pages: Pages) -> None:
    for number in range(1, 121):
        pages.store.save(
            [
                span(
                    number,
                    trace=f"{number:032x}",
                    name=f"n{number % 2}",
                    start=number,
                    end=number + number,
                    attributes=action("flow", f"n{number % 2}"),
                )
            ]
        )
    html = await pages.page("/traces")
    assert html.count("data-key=") == 50
    seen = 0
    while 'rel="next"' in html:
        seen += html.count("data-key=")
        following = Parsed(html.split('rel="next" href="')[1].split('"')[0]).text
        html = await pages.page(following)
    assert seen + html.count("data-key=") == 120
    assert (await pages.page("/traces?name=n1&minLatency=100")).count("data-key=") == 10
    assert "No trace matches" in await pages.page("/traces?kind=model")
    assert "must be a number" in await pages.page("/traces?minLatency=abc")
    rows = await pages.page("/traces/rows?name=n1")
    assert "<html" not in rows


async def test_a_trace_shows_tree_documents_and_messages(pages: Pages) -> None:
    a_retrieval(pages)
    page = assert_only_ours(await pages.page(f"/traces/{TRACE}"))
    assert [attributes["aria-level"] for tag, attributes in page.tags if "aria-level" in attributes] == [
        "1",
        "2",
        "2",
        "2",
    ]
    retrieved = assert_only_ours(await pages.page(f"/traces/{TRACE}?span={2:016x}"))
    assert "After reranking" in retrieved.text
    assert [attributes for tag, attributes in retrieved.tags if tag == "mark"]
    reranked = await pages.page(f"/traces/{TRACE}/spans/{3:016x}")
    assert "1 left out" in reranked
    assert "up by 2" in reranked
    model = assert_only_ours(await pages.page(f"/traces/{TRACE}/spans/{4:016x}"))
    assert "https://x.example/i.png" in model.text
    assert "12 → 3" in model.text
    assert "The trace has no such span" in await pages.page(f"/traces/{TRACE}?span=none", 404)


async def test_hostile_spans_stay_text(pages: Pages) -> None:
    nasty = {ALL: [ALL, {"x": ALL}]}
    event = {
        "time": BASE + 1,
        "annotation": {
            "description": ALL,
            "attributes": {"exception.message": ALL, "exception.stacktrace": ALL, ALL: ALL},
        },
    }
    found = [document(ALL, ALL, title=ALL, url="javascript:alert(1)")]
    query = {"query": {"content": [{"text": ALL}]}}
    pages.store.save(
        [
            span(
                1,
                name=ALL,
                attributes={**action("flow", ALL, input=nasty, output=nasty), ALL: ALL},
                status={"code": 2, "message": ALL},
                timeEvents={"timeEvent": [event]},
            ),
            span(2, 1, name=ALL, attributes=action("retriever", ALL, input=query, output={"documents": found})),
            span(3, 1, name=ALL, attributes={"genkit:metadata:subtype": ALL}),
            span(
                4,
                1,
                attributes=action(
                    "model",
                    ALL,
                    input={"messages": [{"role": ALL, "content": [{"text": ALL}, {"custom": nasty}]}]},
                    output=ALL,
                ),
            ),
            span(5, trace="1" * 32, name=ALL, attributes=action("flow", ALL, input=ALL, output=ALL)),
        ]
    )
    paths = [
        "/traces",
        "/traces?q=%3Cscript%3E&name=%22%3E%3Cimg",
        f"/traces/compare?a={TRACE}&b={'1' * 32}",
        f"/traces/{TRACE}/tree",
    ]
    paths += [f"/traces/{TRACE}?span={number:016x}" for number in range(1, 5)]
    for path in paths:
        page = assert_only_ours(await pages.page(path))
        if "q=" not in path:
            assert "<script>alert(1)</script>" in page.text, path


async def test_a_comparison_shows_what_is_different(pages: Pages) -> None:
    other = "1" * 32
    for trace, answer in ((TRACE, "yes"), (other, "no")):
        pages.store.save(
            [
                span(1, trace=trace, attributes=action("flow", "ask", input={"q": "same"}, output={"answer": answer})),
                span(2, 1, trace=trace, attributes=action("tool", answer, output=1)),
            ]
        )
    text = assert_only_ours(await pages.page(f"/traces/compare?a={TRACE}&b={other}")).text
    assert "3 of 3 differ" in text
    assert '−  "answer": "yes"' in text
    assert '+  "answer": "no"' in text
    same = assert_only_ours(await pages.page(f"/traces/compare?a={TRACE}&b={TRACE}")).text
    assert "0 of 2 differ" in same
    assert "two trace ids" in await pages.page("/traces/compare?a=", 400)


async def test_a_trace_is_exported_as_genkit_and_otlp_json(pages: Pages) -> None:
    a_retrieval(
        pages,
        status={"code": 2, "message": "m"},
        timeEvents={"timeEvent": [{"time": BASE + 1, "annotation": {"description": "d", "attributes": {"a": 1}}}]},
    )
    answer = await pages.http.get(f"/traces/{TRACE}/export?format=otlp")
    assert "attachment" in answer.headers["content-disposition"]
    back, rejected = otlp.to_spans(otlp.parse_json(answer.content))
    assert rejected == 0
    stored = {one.span_id: one for one in pages.store.load(TRACE) or []}
    assert {one.span_id for one in back} == set(stored)
    for one in back:
        assert abs(one.start_time - stored[one.span_id].start_time) < 0.001
        assert abs(one.end_time - stored[one.span_id].end_time) < 0.001
        assert _without_times(one) == _without_times(stored[one.span_id])
    genkit = (await pages.http.get(f"/traces/{TRACE}/export?format=genkit")).json()
    assert set(genkit["spans"]) == set(stored)
    assert (await pages.http.get(f"/traces/{TRACE}/export?format=xml")).status_code == 400


def _without_times(one: SpanData) -> dict[str, Any]:
    found = one.model_dump(exclude={"start_time", "end_time"})
    for event in (found["time_events"] or {}).get("time_event") or []:
        event["time"] = round(event["time"])
    found["status"] = found["status"] or {"code": 0, "message": None}  # absent and unset are the same
    return found


async def test_a_span_becomes_a_row_of_a_dataset_with_what_was_retrieved(pages: Pages) -> None:
    a_retrieval(pages)
    body = {"spanId": f"{1:016x}", "datasetId": "mine"}
    assert (await pages.http.post(f"/traces/{TRACE}/dataset", json=body)).json()["size"] == 1
    assert (await pages.http.post(f"/traces/{TRACE}/dataset", json=body)).json()["size"] == 2
    made = DatasetStore(pages.root / ".genkit_rag").get("mine")
    assert made.target == "/flow/ask"
    assert made.rows[0]["context"] == [f"{one} tokens are revoked" for one in "abcd"]
    assert made.rows[0]["traceIds"] == [TRACE]
    for wrong in ({}, {"spanId": "x", "datasetId": "../up"}, {"spanId": f"{1:016x}", "datasetId": "../up"}):
        assert (await pages.http.post(f"/traces/{TRACE}/dataset", json=wrong)).status_code in (400, 404)
    assert not (pages.root / "up").exists()


async def test_what_screens_run_for_themselves_is_hidden_until_asked_for(pages: Pages) -> None:
    own = {**action("util", "faiss/docs/facets"), "genkitx:run-by": "developer-ui"}
    pages.store.save([span(1, trace="1" * 32, name="facets", attributes=own)])
    pages.store.save([span(1, trace="2" * 32, name="generate", attributes=action("util", "generate"))])
    pages.store.save([span(1, trace="3" * 32, name="answer", attributes=action("flow", "answer"))])
    for path in ("/traces", "/traces?kind=util", "/traces/rows?minLatency=1"):
        assert "1" * 32 not in await pages.page(path)
    assert "2" * 32 in await pages.page("/traces")
    every = await pages.page("/traces?own=all")
    assert every.count("data-key=") == 3
    assert '<option value="all" selected>shown</option>' in every
    assert (await pages.page("/traces?kind=util&scope=any")).count("data-key=") == 2


async def test_spans_that_were_not_kept_are_counted_on_the_page(tmp_path: Path) -> None:
    async with open_pages(tmp_path) as pages:
        pages.store.save([span(1)])
        assert "not kept" not in await pages.page(f"/traces/{TRACE}")
        pages.store.save([span(number, 1) for number in range(2, 10_004)])
        assert "3 further spans are not kept" in await pages.page(f"/traces/{TRACE}")


async def test_documents_of_an_output_that_was_cut_are_a_table_all_the_same(pages: Pages) -> None:
    found = [document(f"d{number}", f'index {number} "documents": [' + "word " * 200) for number in range(400)]
    query = {"query": {"content": [{"text": "index"}]}}
    retrieved = action("retriever", "faiss/docs", input=query, output={"documents": found})
    ranked = action(
        "reranker", "r", input={**query, "documents": found}, output={"documents": found[300:302] + found[:2]}
    )
    pages.store.save([span(1, attributes=retrieved, start=1), span(2, attributes=ranked, start=2)])
    html = await pages.page(f"/traces/{TRACE}?span={1:016x}")
    rows = html.count('class="document-text"')
    assert 100 < rows < 400
    assert f"These are the first {rows}; the rest was cut off." in html
    assert "After reranking" in html
    assert "Reranked by" in html
    reranker = await pages.page(f"/traces/{TRACE}/spans/{2:016x}")
    assert reranker.count('class="document-text"') == 4
    assert "cut off" not in reranker


@pytest.mark.network
async def test_the_budget_is_the_context_that_a_model_declares(pages: Pages, ai: Genkit) -> None:
    async def answer(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        raise AssertionError

    @ai.retriever("r")
    def nothing(query: Document) -> list[Document]:
        return []

    for name, window in (("told", 2048), ("silent", None), ("odd", "many"), ("less", -1)):
        model = ai.define_model(f"m/{name}", answer)
        model.metadata["model"]["contextWindow"] = window
    async with reflected(ai.registry, pages.root):
        html = await pages.page("/playground")
    assert '<option value="m/told" data-window="2048">' in html
    assert html.count("data-window") == 1
