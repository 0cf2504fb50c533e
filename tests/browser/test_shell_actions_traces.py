"""The shell, the actions and the traces in a real browser, on a real app with a real index."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ROOT, Dev, Walk, assert_accessible, start_app

pytestmark = [pytest.mark.browser, pytest.mark.network]

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "</pre></textarea></template><script>alert(1)</script>",
    "{{7*7}}{% raw %}",
    "![x](https://evil.example/x.png)",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>body{display:none}</style>",
    "'-alert(1)-'",
    "<!--",
    "]]>",
    "<iframe src=https://evil.example></iframe>",
    "\u2028\u2029\u0000\ufeff\u202e",
    "&lt;script&gt;",
    "<meta http-equiv=refresh content=0>",
]


def a_trace(dev: Dev, question: str = "How are authentication tokens revoked?") -> str:
    trace_id: str = dev.run("/flow/answer_question", {"question": question, "k": 6})[0]["traceId"]
    return trace_id


def choose_span(page: Any, name: str) -> None:
    page.locator(".span-row", has_text=name).first.click()
    page.wait_for_function("name => document.querySelector('#span-title').textContent.includes(name)", arg=name)


# -- looks


def test_the_list_of_actions_is_sound(walk: Walk) -> None:
    walk("/actions", "actions", ready=".action")


def test_the_page_of_a_flow_is_sound(walk: Walk) -> None:
    def run(page: Any) -> None:
        page.click("#run")
        page.wait_for_selector("#run-state:has-text('done')")

    walk("/actions/flow/answer_question", ready="#run:enabled", act=run)


def test_the_page_of_a_retriever_is_sound(walk: Walk) -> None:
    def run(page: Any) -> None:
        page.click("#run")
        page.wait_for_selector("#output table")

    walk("/actions/retriever/faiss/docs", "action-retriever", ready="#run:enabled", act=run)


def test_the_list_of_traces_is_sound(walk: Walk, dev: Dev) -> None:
    a_trace(dev)
    dev.run("/flow/fails", "a reason")
    walk("/traces", "traces", ready=".traces tbody tr")


def test_the_page_of_a_trace_is_sound(walk: Walk, dev: Dev) -> None:
    walk(f"/traces/{a_trace(dev)}", "trace", ready=".span-row", act=lambda page: choose_span(page, "faiss/docs"))


def test_the_page_of_a_model_span_is_sound(walk: Walk, dev: Dev) -> None:
    walk(f"/traces/{a_trace(dev)}", "trace-model", ready=".span-row", act=lambda page: choose_span(page, "play/writer"))


def test_the_page_of_a_failed_trace_is_sound(walk: Walk, dev: Dev) -> None:
    trace_id = dev.run("/flow/fails", "a reason")[0]["traceId"]
    walk(f"/traces/{trace_id}", ready=".notice.error")


def test_the_comparison_is_sound(walk: Walk, dev: Dev) -> None:
    a, b = a_trace(dev), a_trace(dev, "What does an editor do?")
    walk(f"/traces/compare?a={a}&b={b}", "compare", ready=".compared")


def test_missing_pages_are_sound(walk: Walk) -> None:
    walk("/actions/flow/gone", ready=".empty")


def test_the_empty_list_is_sound(walk: Walk) -> None:
    walk("/traces?q=nothinghasthisword", ready=".empty")


# -- actions


def test_a_search_leaves_what_matches_and_enter_opens_the_first(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions")
    page.keyboard.press("/")
    page.keyboard.type("answq")
    page.wait_for_function("() => document.querySelector('#count').textContent.startsWith('1 of')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/actions/flow/answer_question")


def test_form_and_json_stay_the_same_value(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions/flow/answer_question")
    page.get_by_label("question").fill("Who may write?")
    page.locator("#form").get_by_label("k", exact=True).fill("3")
    page.get_by_label("Add a field", exact=True).select_option("filters")
    page.get_by_label("section").select_option(label="security")
    page.get_by_role("button", name="JSON", exact=True).click()
    value = page.evaluate("JSON.parse(document.querySelector('#json').value)")
    assert value == {"question": "Who may write?", "k": 3, "style": "short", "filters": {"section": "security"}}
    page.fill("#json", '{"question": "From JSON", "target": 5, "filters": {"years": [2020, 2021]}}')
    page.get_by_role("button", name="Form", exact=True).click()
    assert page.locator("#form").get_by_label("question").input_value() == "From JSON"
    assert page.get_by_role("spinbutton", name="years 2").input_value() == "2021"
    assert page.get_by_label("Form of target").locator("option:checked").inner_text() == "integer"
    page.get_by_role("button", name="Add to years").click()
    assert page.evaluate("JSON.parse(document.querySelector('#json').value).filters.years.length") == 3
    page.get_by_role("button", name="Remove years 1").click()
    assert page.evaluate("JSON.parse(document.querySelector('#json').value).filters.years[0]") == 2021


def test_an_invalid_field_is_told_at_the_field(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions/flow/answer_question")
    page.locator("#form").get_by_label("k", exact=True).fill("99")
    page.click("#run")
    field = page.locator("#form [aria-invalid=true]")
    field.wait_for()
    assert field.input_value() == "99"
    assert "less than or equal to 20" in page.locator("#form .problem:visible").inner_text()


def test_a_run_streams_is_cancelled_and_leads_to_its_trace(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions/flow/count")
    page.evaluate("localStorage.setItem('input-face', '\"json\"')")
    page.reload()
    page.fill("#json", "1000")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".chunks li:nth-child(3)")
    page.click("#cancel")
    page.wait_for_selector("#run-state:has-text('cancelled')")
    assert page.locator("#output .notice").inner_text() == "The run was cancelled."
    page.click("#trace")
    page.wait_for_selector(".span-row:has-text('count')")


def test_recent_inputs_come_back(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions/flow/fails")
    page.evaluate("localStorage.setItem('input-face', '\"json\"')")
    page.reload()
    page.fill("#json", '"first"')
    page.click("#run")
    page.wait_for_selector("#output .notice.error:has-text('It failed: first')")
    page.reload()
    page.fill("#json", '"second"')
    page.select_option("#recent", index=1)
    assert page.input_value("#json") == '"first"'


HOSTILE_TEXT = {"it's": [True, None, 'q"\n$(false) `x` \\ ü \u2028']}


@pytest.mark.parametrize("language", ["python", "curl", "cli"])
def test_a_call_copied_in_another_language_runs_as_it_is(page: Any, dev: Dev, tmp_path: Path, language: str) -> None:
    page.goto(dev.url + "/actions/flow/echo")
    page.evaluate("localStorage.setItem('input-face', '\"json\"')")
    page.reload()
    page.fill("#json", json.dumps(HOSTILE_TEXT))
    page.click("summary:has-text('Context')")
    page.fill("#context", '{"auth": {"uid": "it\'s me"}}')
    page.select_option("#copy", language)
    page.wait_for_selector("#run-state:has-text('copied')")
    text = page.evaluate("navigator.clipboard.readText()")
    assert "uid" in text
    assert _pasted(language, text, dev, tmp_path) == HOSTILE_TEXT


def _pasted(language: str, text: str, dev: Dev, folder: Path) -> Any:
    """Returns what a copied call gives, run where its user would paste it."""
    if language == "python":
        body = "".join(f"    {line}\n" for line in text.splitlines())
        (folder / "paste.py").write_text(
            "import json\nfrom pathlib import Path\nfrom tests.browser.app import make\n"
            "ai = make(Path.cwd())\nasync def main():\n" + body + "    print(json.dumps(result))\nai.run_main(main())\n"
        )
        command, where = f"{shlex.quote(sys.executable)} paste.py", folder
    else:
        program = shlex.quote(str(Path(sys.executable).with_name("genkit-rag")))
        command, where = re.sub("^genkit-rag ", lambda _: f"{program} ", text), dev.root
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], cwd=where, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    return printed["result"] if language == "curl" else printed


# -- traces


def test_the_tree_is_walked_by_keyboard(page: Any, dev: Dev) -> None:
    page.goto(f"{dev.url}/traces/{a_trace(dev, 'A question whose vector is not in the cache')}")
    page.focus("#tree [tabindex='0']")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => document.querySelector('#span-title').textContent.includes('faiss/docs')")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".span-row:visible", has_text="fake/words").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.locator(".span-row:visible", has_text="fake/words").count() == 1
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('#span-title').textContent.includes('play/writer')")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.textContent").startswith("▾answer_question")


def test_a_retrieval_shows_ranks_after_reranking_and_the_matched_words(page: Any, dev: Dev) -> None:
    page.goto(f"{dev.url}/traces/{a_trace(dev)}")
    choose_span(page, "faiss/docs")
    table = page.locator("table.documents")
    assert "After reranking" in table.inner_text()
    assert {text.lower() for text in table.locator("mark").all_inner_texts()} >= {"authentication", "tokens", "revoked"}
    assert table.locator(".move.up").count() > 0
    page.locator(".partner a").click()
    page.wait_for_function("() => document.querySelector('#span-title').textContent.includes('play/overlap')")
    assert "Before reranking" in page.locator("table.documents").inner_text()


def test_a_running_trace_grows_and_the_list_is_live(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/traces")
    page.wait_for_selector("#live-state.on")
    before = page.locator(".traces tbody tr").first.get_attribute("data-key")
    trace_id = a_trace(dev)
    page.wait_for_function("key => document.querySelector('.traces tbody tr').dataset.key !== key", arg=before)
    page.wait_for_selector(f"tr[data-key='{trace_id}'] .status.ok")


def test_a_span_is_replayed_with_its_recorded_input(page: Any, dev: Dev) -> None:
    page.goto(f"{dev.url}/traces/{a_trace(dev, 'What is audited?')}")
    choose_span(page, "faiss/docs")
    page.click("[data-replay]")
    page.wait_for_selector("#run:enabled")
    page.wait_for_function(
        "text => JSON.parse(document.querySelector('#json').value).query.content[0].text === text",
        arg="What is audited?",
    )
    page.click("#run")
    page.wait_for_selector("#output table")


def test_two_traces_are_chosen_and_compared(page: Any, dev: Dev) -> None:
    a, b = a_trace(dev), a_trace(dev, "What does an editor do?")
    page.goto(dev.url + "/traces")
    for one in (a, b):
        page.check(f"input[value='{one}']")
    page.click("#compare")
    page.wait_for_selector(".compared")
    assert page.url.endswith(f"a={a}&b={b}")
    assert (
        "What does an editor do?"
        in page.locator(".diff .add").first.inner_text() + page.locator(".diff").first.inner_text()
    )


def test_a_span_goes_into_a_dataset(page: Any, dev: Dev) -> None:
    page.goto(f"{dev.url}/traces/{a_trace(dev)}")
    page.wait_for_selector("#live")
    for size in (1, 2):
        page.click("[data-dataset]")
        page.fill("#dataset", "from-traces")
        page.click("#dataset-form button[type=submit]")
        page.wait_for_selector(f".notice:has-text('{size} row')")
    from genkit_rag._server.datasets import DatasetStore

    made = DatasetStore(dev.root / ".genkit_rag").get("from-traces")
    assert made.target == "/flow/answer_question"
    assert len(made.rows) == 2
    assert made.rows[0]["context"]


def test_a_trace_is_deleted_at_the_second_press(page: Any, dev: Dev) -> None:
    trace_id = a_trace(dev)
    page.goto(f"{dev.url}/traces/{trace_id}")
    page.click("#delete")
    assert page.locator("#delete").inner_text() == "Delete it?"
    page.click("#delete")
    page.wait_for_url("**/traces")
    assert dev.http.get(f"/api/traces/{trace_id}").content == b""


# -- what holds everywhere


def test_text_from_anywhere_stays_text(page: Any, dev: Dev) -> None:
    value = {text: {"nested": [text]} for text in HOSTILE}
    trace_id = dev.run("/flow/echo", value)[0]["traceId"]
    failed = dev.run("/flow/fails", "".join(HOSTILE).replace("\0", ""))[0]["traceId"]
    dev.run("/flow/answer_question", {"question": "".join(HOSTILE)})
    for path in (
        f"/traces/{trace_id}",
        f"/traces/{failed}",
        f"/traces/compare?a={trace_id}&b={failed}",
        "/traces?q=<script>",
    ):
        page.goto(dev.url + path)
        page.wait_for_selector("main h1")
        for details in page.locator("main details").all():
            details.evaluate("one => { one.open = true; }")
        page.wait_for_timeout(100)
        assert page.locator("main img, main iframe, main script, main style, main a[href^='javascript']").count() == 0
    page.goto(dev.url + "/actions/flow/echo")
    page.evaluate("localStorage.setItem('input-face', '\"json\"')")
    page.reload()
    page.evaluate("value => { document.querySelector('#json').value = JSON.stringify(value); }", value)
    page.click("#run")
    page.wait_for_selector("#run-state:has-text('done')")
    page.reload()
    assert page.locator("main img, main iframe, main style, main a[href^='javascript']").count() == 0


def test_everything_is_reached_by_tab_and_the_focus_is_seen(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions/flow/answer_question")
    page.wait_for_selector("#run:enabled")
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "() => { const one = document.activeElement; const style = getComputedStyle(one);"
            " return [one.tagName + '#' + one.id + '.' + one.className, style.outlineStyle, one === document.body]; }"
        )
        if focus[2]:
            break
        assert focus[1] != "none", focus
        seen.append(focus[0])
    assert seen[0].startswith("A#.skip")
    for wanted in ("BUTTON#theme", "SELECT#copy", "BUTTON#as-json", "TEXTAREA#sf", "BUTTON#run"):
        assert any(one.startswith(wanted) for one in seen), (wanted, seen)


def test_the_skip_link_leads_to_the_content(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/actions")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_theme_is_switched_and_kept(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/traces")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.click("#theme")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    assert_accessible(page)


def test_nothing_moves_while_a_page_loads(open_page: Callable[..., Any], dev: Dev) -> None:
    page = open_page(viewport={"width": 1280, "height": 860})
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver(list => { for (const one of list.getEntries())"
        " if (!one.hadRecentInput) window.moved += one.value; }).observe({type: 'layout-shift', buffered: true});"
    )
    for path in ("/actions", "/traces", f"/traces/{a_trace(dev)}"):
        page.goto(dev.url + path)
        page.wait_for_timeout(300)
        assert page.evaluate("window.moved") < 0.05, path


def test_pages_can_be_read_without_javascript(open_page: Callable[..., Any], dev: Dev) -> None:
    page = open_page(java_script_enabled=False)
    trace_id = a_trace(dev)
    page.goto(dev.url + "/traces?name=answer_question")
    page.click(f"#t-{trace_id}")
    page.locator(".span-row", has_text="faiss/docs").click()
    assert page.locator("table.documents").count() == 1
    page.goto(dev.url + "/actions?q=count")
    assert re.findall("count", page.locator(".action").first.inner_text())


def test_the_top_bar_tells_when_the_app_goes(dev: Dev, open_page: Callable[..., Any]) -> None:
    page = open_page(viewport={"width": 1280, "height": 860})
    page.goto(dev.url + "/traces")
    assert "app" in page.locator("#runtime-text").inner_text()
    files = list((dev.root / ".genkit" / "runtimes").glob("*.json"))
    kept = [(file, file.read_text()) for file in files]
    try:
        for file in files:
            file.unlink()
        page.wait_for_selector("#runtime[data-state=down]", timeout=8000)
        page.goto(dev.url + "/actions")
        page.wait_for_selector(".empty .command")
        assert_accessible(page)
    finally:
        for file, text in kept:
            file.write_text(text)
    page.wait_for_selector(".action", timeout=8000)  # it comes back by itself


def test_of_two_apps_one_is_chosen_in_the_header(page: Any, dev: Dev, tmp_path: Path) -> None:
    script = tmp_path / "second.py"
    script.write_text(
        "from genkit_rag import Genkit\nai = Genkit()\n"
        "@ai.flow\ndef only_here(x: str) -> str:\n    return x\n"
        "async def main(): pass\nai.run_main(main())\n"
    )
    second = start_app(dev.root, dev.url, dev.token, script)
    try:
        due = time.monotonic() + 30
        while len(dev.http.get("/ui/runtime").json()["others"]) == 0:
            assert time.monotonic() < due
            time.sleep(0.1)
        page.goto(dev.url + "/actions")
        page.wait_for_selector("#runtimes:visible")
        assert page.locator("#runtimes option").count() == 2
        page.wait_for_selector("a.action:has-text('only_here')")  # the newest one, until another is chosen
        assert_accessible(page)
        (old,) = dev.http.get("/ui/runtime").json()["others"]
        page.select_option("#runtimes", old["id"])
        page.wait_for_selector("a.action:has-text('answer_question')")
        assert page.locator("a.action:has-text('only_here')").count() == 0
    finally:
        second.terminate()
        second.wait(10)
