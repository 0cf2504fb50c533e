"""The screen Prompts in a browser: variables, rendering, answers, templates, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import Dev, Walk, assert_accessible
from tests.browser.lab import HOSTILE, REVIEW, laboratory

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with laboratory(tmp_path_factory.mktemp("prompts")) as made:
        yield made


def fill_article(page: Any, text: str) -> None:
    page.wait_for_selector("#form .sf")
    page.get_by_label("article").first.fill(text)


def answered(page: Any) -> None:
    fill_article(page, "Bees dance to tell where flowers are.")
    page.wait_for_selector("#rendered .message")
    page.click("#run")
    page.wait_for_selector("#run-state:has-text('done')")


def test_every_page_is_sound_in_light_dark_and_at_360_pixels(walk: Walk) -> None:
    walk("/prompts", "prompts", ready=".prompt-card")
    walk("/prompts/p/review", "prompt", ready="#source", act=answered)
    walk("/prompts/p/mail/greeting", "prompt-greeting", ready="#source")


def test_the_list_is_narrowed_and_leads_to_variants(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/prompts")
    assert page.locator(".prompt-card").count() == 2
    page.fill("#find", "GREETING")
    assert page.locator(".prompt-card:visible").count() == 1
    page.fill("#find", "no such thing")
    page.wait_for_selector("#none:visible")
    page.fill("#find", "")
    page.click("a.badge:has-text('brief')")
    page.wait_for_url("**/review.brief")
    assert page.locator("nav[aria-label=Variants] [aria-current]").inner_text() == "brief"


def test_variables_render_and_the_answer_streams_in(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/prompts/p/review")
    fill_article(page, HOSTILE)
    page.wait_for_selector(f"#rendered .message[data-role=user]:has-text('{HOSTILE[:20]}')")
    assert page.locator(".message .role").all_inner_texts() == ["system", "user"]
    assert "kind reviewer" in page.inner_text(".message[data-role=system]")
    assert page.locator("#rendered img, #rendered script").count() == 0
    assert page.inner_text("#tokens").startswith("about ")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#run-state:has-text('done')")
    assert HOSTILE in page.inner_text("#output")
    assert page.get_attribute("#trace", "href").startswith("/traces/")
    page.reload()
    page.wait_for_selector("#recent:visible")
    assert page.get_by_label("article").first.input_value() == HOSTILE, "the last variables are there again"


def test_an_edited_template_is_rendered_run_and_reset(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/prompts/p/review")
    fill_article(page, "bees")
    assert page.input_value("#source").strip() == REVIEW.strip()
    edited = REVIEW.replace("Review this article", "Praise this text")
    page.fill("#source", edited)
    page.wait_for_selector("#rendered:has-text('Praise this text: bees')")
    page.click("#run")
    page.wait_for_selector("#output:has-text('Praise this text: bees')")
    page.fill("#source", "{{#if}")
    page.wait_for_selector("#rendered [role=alert]")
    assert "review" in page.inner_text("#rendered [role=alert]")
    page.click("#reset")
    page.wait_for_selector("#rendered:has-text('Review this article: bees')")
    assert page.is_hidden("#changed")


def test_a_template_is_saved_to_its_file_and_beside_it(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/prompts/p/review")
    page.fill("#source", page.input_value("#source") + "\nBe brief.\n")
    page.click("#save")
    page.wait_for_selector("#saved:has-text('Saved as review.prompt')")
    file = dev.root / "prompts" / "review.prompt"
    assert file.read_text().endswith("Be brief.\n")
    page.click("summary:has-text('Save as a new prompt')")
    page.fill("#save-name", "../outside")
    page.press("#save-name", "Enter")
    page.wait_for_selector("#saved.error")
    page.fill("#save-name", "deep/short")
    page.press("#save-name", "Enter")
    page.wait_for_selector("#saved:has-text('deep/short.prompt')")
    assert_accessible(page)
    assert not (dev.root / "outside.prompt").exists()
    file.write_text("changed by an editor")
    page.click("#save")
    page.wait_for_selector("#saved:has-text('changed by somebody else')")
    assert file.read_text() == "changed by an editor"
    file.write_text(REVIEW)


def test_a_prompt_is_copied_as_python_and_as_a_file(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/prompts/p/review.brief")
    fill_article(page, "bees")
    page.select_option("#copy", "python")
    page.wait_for_selector("#run-state:has-text('copied')")
    code = page.evaluate("navigator.clipboard.readText()")
    assert 'get_prompt("review", variant="brief")' in code
    assert '"article": "bees"' in code
    page.select_option("#copy", "prompt")
    page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('Review briefly')")


def test_a_missing_variable_is_named_at_its_field(open_page: Callable[..., Any], dev: Dev) -> None:
    page = open_page()
    page.goto(dev.url + "/prompts/p/review")
    page.wait_for_selector("#rendered [role=alert]")
    assert "article" in page.inner_text("#rendered")
