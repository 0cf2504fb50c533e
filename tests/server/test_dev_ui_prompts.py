"""The screen Prompts over HTTP, with a real app in a process of its own; files below the folder that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from genkit_rag import Genkit
from genkit_rag._core.errors import GenkitError
from genkit_rag._generation.prompt.actions import PromptSourceInput, prompt_source_actions
from genkit_rag._generation.prompt.front_matter import parse_source
from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.dev_ui.screens import prompts
from genkit_rag._server.dev_ui.screens.prompts.files import PromptPlace, checked_path, place_of
from genkit_rag._server.dev_ui.screens.prompts.source import prompt_source
from genkit_rag._server.dev_ui.ui import Ui
from genkit_rag._server.guard import Guard, new_token
from genkit_rag._server.runtimes import Runtimes
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_policy
from genkit_rag._server.telemetry.live import Hub
from genkit_rag.testing import ScriptedModel
from tests.browser.conftest import Dev
from tests.browser.lab import HOSTILE, REVIEW, laboratory
from tests.server.hostile import assert_hostile_requests_are_refused

pytestmark = pytest.mark.network

HTML = {"accept": "text/html"}
NAMES = [
    "../outside",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "/",
    "..\\outside",
    "C:\\windows",
    "C:x",
    "a\0b",
    "x" * 300,
    "a/" * 200 + "b",
    "con",
    "NUL",
    "aux.short",
    "mail/com1",
    "a b",
    ".hidden",
    "mail/.hidden",
    "trailing.",
    "%2e%2e/x",
    "~root/x",
    "a\nb",
    "a:b",
    "a|b",
    "a*",
]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with laboratory(tmp_path_factory.mktemp("prompts-http")) as made:
        yield made


def rendered(dev: Dev, **body: Any) -> dict[str, Any]:
    answer = dev.http.post("/prompts/render", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def texts(request: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["role"], one["content"][0]["text"].strip()) for one in request["messages"]]


def library() -> Genkit:
    ai = Genkit(model=ScriptedModel("play/echo", ["x"]).action)
    ai.define_prompt("review", template=REVIEW)
    return ai


async def test_what_is_rendered_is_what_the_library_renders(dev: Dev) -> None:
    value = {"article": HOSTILE, "tone": "strict"}
    request = await (await library().get_prompt("review")).render(value)
    found = rendered(dev, key="review", input=value)
    assert found["request"] == request.to_wire()
    assert texts(found["request"]) == [
        ("system", "You are a strict reviewer."),
        ("user", f"Review this article: {HOSTILE}"),
    ]
    assert found["totalTokens"] == sum(found["tokens"]) + found["moreTokens"] > 0


async def test_an_edited_source_is_rendered_as_the_prompt_that_it_is(dev: Dev) -> None:
    value = {"article": "bees"}
    same = rendered(dev, key="review", input=value, source=REVIEW)
    assert same["request"] == rendered(dev, key="review", input=value)["request"]
    other = rendered(dev, key="review", source="Hi {{@auth.uid}}", context={"auth": {"uid": "me"}})
    assert texts(other["request"]) == [("user", "Hi me")]


def test_an_edited_source_runs_and_streams_like_the_prompt(dev: Dev) -> None:
    body = {"source": REVIEW.replace("Review", "Praise"), "input": {"article": "bees"}, "name": "review"}
    events = dev.run("/util/run-prompt", body)
    assert "Praise this article: bees" in events[-1]["result"]["message"]["content"][0]["text"]


async def test_a_source_defines_nothing_and_sees_partials_and_helpers() -> None:
    ai = library()
    ai.define_partial("sign", "Yours, {{shout name}}")
    ai.define_helper("shout", lambda text: str(text).upper())
    render, _ = prompt_source_actions(ai.registry)
    before = {item.key for item in await ai.registry.list_actions()}
    request = await render(PromptSourceInput(source="Hello. {{> sign}}", input={"name": "ada"}, name="review"))
    assert request.messages[0].text == "Hello. Yours, ADA"
    assert {item.key for item in await ai.registry.list_actions()} == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"key": "review", "input": {}}, "article"),
        ({"key": "review", "source": "{{#if}"}, "review"),
        ({"key": "review", "source": "---\nmodel: [\n---\nx"}, "review"),
        ({"key": "nothing"}, "nothing"),
        ({"key": 5}, "key"),
        ({"key": "review", "source": 5}, "source"),
        ({"key": "review", "context": []}, "context"),
        ({"key": "../x", "source": "x"}, "name"),
        ({"key": "review", "source": "{{> gone}}"}, "gone"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(dev: Dev, body: dict[str, Any], told: str) -> None:
    answer = dev.http.post("/prompts/render", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert told in answer.json()["message"]


def test_the_list_groups_variants_and_the_page_shows_the_source(dev: Dev) -> None:
    page = dev.http.get("/prompts", headers=HTML).text
    assert page.count('class="card prompt-card"') == 2
    assert "/prompts/p/review.brief" in page
    assert "{{role &#34;system&#34;}}" in dev.http.get("/prompts/p/review", headers=HTML).text
    assert dev.http.get("/prompts/p/nothing", headers=HTML).status_code == 404


def test_hostile_text_of_prompts_is_escaped(dev: Dev) -> None:
    for path in ("/prompts", "/prompts/p/review", "/prompts/p/mail/greeting", "/prompts/p/review.brief"):
        page = dev.http.get(path, headers=HTML)
        assert page.status_code == 200
        assert "<img" not in page.text
        assert " style=" not in page.text
        assert "<script>alert" not in page.text


# -- files


def save(dev: Dev, **body: Any) -> httpx.Response:
    return dev.http.post("/prompts/save", json={"key": "review", "source": "x", **body})


def version(dev: Dev) -> str:
    page = dev.http.get("/prompts/p/review", headers=HTML).text
    return page.split('data-version="')[1].split('"')[0]


def test_a_source_is_saved_over_the_version_that_was_read(dev: Dev) -> None:
    file = dev.root / "prompts" / "review.prompt"
    first = version(dev)
    saved = save(dev, source=REVIEW + "\u00e9", version=first)
    assert (saved.status_code, saved.json()["path"]) == (200, "review.prompt")
    assert file.read_text("utf-8") == REVIEW + "\u00e9"
    assert save(dev, version=first).status_code == 409, "somebody has written meanwhile"
    assert save(dev, version=saved.json()["version"], source=REVIEW).status_code == 200
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == [], "nothing is left over"
    for wrong in ({}, {"version": 5}, {"version": version(dev), "source": 5}):
        assert save(dev, **wrong).status_code == 400
    assert save(dev, version=version(dev), source="x" * 1_000_001).status_code == 429
    assert file.read_text() == REVIEW


def test_a_prompt_without_a_file_is_not_saved_anywhere(dev: Dev) -> None:
    answer = save(dev, key="review.brief", saveAs="brief")
    assert (answer.status_code, "Download" in answer.json()["hint"]) == (400, True)
    assert save(dev, key="nothing", version="x").status_code == 404


def test_a_new_prompt_stands_beside_and_never_over_another(dev: Dev) -> None:
    assert save(dev, saveAs="mail/short").json()["path"] == "mail/short.prompt"
    assert (dev.root / "prompts" / "mail" / "short.prompt").read_text() == "x"
    assert save(dev, saveAs="mail/short", source="y").status_code == 409
    assert save(dev, saveAs="review", source="y").status_code == 409
    assert save(dev, saveAs=5).status_code == 400


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leaves_the_prompt_folder(dev: Dev, name: str) -> None:
    before = {path for path in dev.root.parent.rglob("*") if path.is_file() and "traces.db" not in path.name}
    assert save(dev, saveAs=name).status_code == 400
    after = {path for path in dev.root.parent.rglob("*") if path.is_file() and "traces.db" not in path.name}
    assert after == before


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_a_symbolic_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    folder, outside = tmp_path / "prompts", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.prompt").write_text("secret")
    (folder / "link.prompt").symlink_to(outside / "secret.prompt")
    (folder / "deep").symlink_to(outside)
    for path in ("link.prompt", "deep/secret.prompt", "deep/new.prompt"):
        place = PromptPlace(folder, path)
        with pytest.raises(GenkitError, match="symbolic link"):
            place.read()
        with pytest.raises(GenkitError, match="symbolic link"):
            place.write("x", None)
    assert (outside / "secret.prompt").read_text() == "secret"
    assert not (outside / "new.prompt").exists()


def test_a_folder_outside_of_the_project_is_not_believed(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "prompts").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (root / "away").symlink_to(tmp_path / "other")
    for folder in ("/etc", str(tmp_path / "other"), "../other", "away", "missing", "a\0b", 5, None):
        assert place_of({"prompt": {"file": {"folder": folder, "path": "a.prompt"}}}, root) is None
    for metadata in ({}, {"prompt": 5}, {"prompt": {"file": "x"}}, {"prompt": {"file": {"folder": "prompts"}}}):
        assert place_of(metadata, root) is None
    for folder in ("prompts", str(root / "prompts")):
        found = place_of({"prompt": {"file": {"folder": folder, "path": "mail/a.b.prompt"}}}, root)
        assert found == PromptPlace((root / "prompts").resolve(), "mail/a.b.prompt")


@given(st.text(max_size=40))
def test_a_checked_path_is_a_name_within_the_folder(text: str) -> None:
    try:
        path = checked_path(f"{text}.prompt")
    except GenkitError:
        return
    root = Path("/somewhere/prompts")
    assert (root / path).resolve().is_relative_to(root)
    assert not set(path) & set('\\:<>"|?*\0\n ')


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]))
)
KEYS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1)


@given(
    st.dictionaries(
        KEYS,
        st.recursive(
            PLAIN, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=3), max_leaves=6
        ),
        max_size=4,
    )
)
def test_the_front_matter_that_is_made_says_what_the_app_told(config: dict[str, Any]) -> None:
    source = prompt_source({"model": "a/b: c", "config": config, "template": "Hi {{name}}"}, "true")
    assert source is not None
    parsed = parse_source(source, "made")
    assert (parsed.fields.model, parsed.fields.description, parsed.template) == ("a/b: c", "true", "Hi {{name}}")
    assert parsed.fields.config == (config or None)


async def test_every_route_refuses_the_hostile_page(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    ui = Ui(tmp_path, tmp_path, store, Hub(), Runtimes(tmp_path), [prompts.screen])
    guard = Guard(Starlette(routes=list(prompts.routes(ui))), telemetry_policy(new_token()))
    assert await assert_hostile_requests_are_refused(guard) > 1000
    store.close()


def test_without_an_app_the_page_says_how_to_start_one(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.db")
    with serve_in_thread(dev_app(tmp_path, store, None)) as served:
        answer = httpx.get(f"{served.url}/prompts", headers=HTML)
    assert (answer.status_code, "genkit-rag start" in answer.text) == (503, True)
    store.close()
