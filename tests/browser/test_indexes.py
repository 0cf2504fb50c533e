"""The screen Indexes in a browser: real app, real FAISS index."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Dev, Walk
from tests.browser.stores import dev as dev
from tests.browser.stores import result
from tests.browser.stores_app import HOSTILE

pytestmark = [pytest.mark.network, pytest.mark.browser]


@pytest.mark.parametrize(
    ("path", "name", "ready"),
    [
        ("/indexes", "indexes", "#stores"),
        ("/indexes/store?store=faiss/docs", "index-documents", ".documents"),
        ("/indexes/source?store=faiss/docs&source=baking-1.md", "index-source", "#source-text"),
        ("/indexes/map?store=faiss/docs&query=bread+and+butter&field=topic", "index-map", "#legend li"),
        ("/indexes/store?store=faiss/odd", "index-odd", ".documents"),
        ("/indexes/store?store=memory/rules", "index-private", "#problem"),
    ],
)
def test_every_page_is_sound(walk: Walk, path: str, name: str, ready: str) -> None:
    walk(path, name, ready=ready)


def test_deleting_a_document_asks_first(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/indexes/store?store=faiss/docs&namespace=archive")
    before = result(dev, "/util/faiss/docs/stats", {})["count"]
    row = page.locator("tbody tr").first
    gone = row.get_attribute("data-id")
    row.get_by_role("button", name=f"Delete {gone}").click()
    page.keyboard.press("Escape")
    assert result(dev, "/util/faiss/docs/stats", {})["count"] == before
    row.get_by_role("button", name=f"Delete {gone}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_selector("tr.going")
    page.wait_for_function("count => document.querySelector('#store-count').innerText === count", arg=str(before - 1))
    assert result(dev, "/util/faiss/docs/stats", {})["count"] == before - 1
    assert result(dev, "/util/faiss/docs/page", {"ids": [gone], "namespace": "archive"})["documents"] == []


def test_deleting_by_filter_says_how_many_go(page: Any, dev: Dev) -> None:
    only = '{"source": "sailing-4.md"}'
    total = result(dev, "/util/faiss/docs/page", {"filter": {"source": "sailing-4.md"}, "count": True})["total"]
    page.goto(f"{dev.url}/indexes/store?store=faiss/docs&filter={only}")
    page.get_by_role("button", name="Delete all that pass").click()
    page.get_by_role("dialog").get_by_role("button", name=f"Delete {total}").click()
    page.wait_for_url(lambda url: "filter" not in url)
    assert result(dev, "/util/faiss/docs/page", {"filter": {"source": "sailing-4.md"}, "count": True})["total"] == 0


def test_re_embedding_shows_how_far_it_is_and_keeps_every_document(page: Any, dev: Dev) -> None:
    count = result(dev, "/util/faiss/docs/stats", {})["count"]
    page.goto(dev.url + "/indexes/store?store=faiss/docs")
    page.get_by_role("button", name="Re-embed").click()
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button", name="Re-embed").click()
    assert result(dev, "/util/faiss/docs/stats", {})["count"] == count
    page.get_by_role("button", name="Check all data").click()
    page.get_by_role("button", name="All data are well").wait_for()


def test_the_map_shows_the_query_its_hits_and_what_is_selected(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/indexes/map?store=faiss/docs&query=telescope+comet&field=topic")
    page.wait_for_selector("#points-body tr")
    asked = {"query": {"content": [{"text": "telescope comet"}]}, "options": {"k": 10}}
    found = result(dev, "/retriever/faiss/docs", asked)["documents"]
    assert page.locator("#points-body td.id").all_inner_texts() == [one["metadata"]["id"] for one in found]
    scores = page.locator("#points-body td.num").all_inner_texts()
    assert scores == [f"{one['metadata']['score']:.4f}" for one in found]
    total = result(dev, "/util/faiss/docs/page", {"count": True})["total"]
    counts = page.locator("#legend .num").all_inner_texts()
    assert sum(map(int, counts)) == total
    page.focus("#map")
    page.keyboard.press("Enter")  # the keyboard's way to what the pointer selects
    page.get_by_role("heading", name=f"{total} points").wait_for()
    assert page.inner_text("#listed").startswith(f"{total} points")
    for _ in range(12):
        page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"{total} points").wait_for(state="detached")


def test_fifty_thousand_points_are_found_and_drawn_once_a_frame(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/indexes/map?store=faiss/docs")
    page.wait_for_selector("#legend li")
    found = page.evaluate(
        """async () => {
          const n = 50000, x = [], y = [], colour = [];
          for (let i = 0; i < n; i += 1) {
            x.push(Math.sin(i) * (i % 977)); y.push(Math.cos(i * 1.7) * (i % 613)); colour.push(i % 5);
          }
          const { map } = document;
          map.show({ x, y, colour, palette: ['#111', '#222', '#333', '#444', '#555'] });
          await new Promise(requestAnimationFrame);
          const before = map.frames;
          for (let i = 0; i < 200; i += 1) map.pan(1, 1);
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          map.all();
          let wrong = 0;
          for (let k = 0; k < 200; k += 1) {
            const [px, py] = map.toScreen(x[k * 211], y[k * 211]);
            const i = map.nearest(px, py, 5);
            const [qx, qy] = i === null ? [1e9, 1e9] : map.toScreen(x[i], y[i]);
            if (Math.hypot(px - qx, py - qy) > 1e-6) wrong += 1;
          }
          return { frames: map.frames - before, wrong, inside: map.inside().length };
        }"""
    )
    assert found["frames"] <= 2
    assert (found["wrong"], found["inside"]) == (0, 50_000)


def test_hostile_documents_stay_text(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/indexes/store?store=faiss/odd")
    assert page.locator("tbody tr td.id").first.inner_text() == HOSTILE
    assert page.locator("main img").count() == 0
    page.goto(dev.url + "/indexes/map?store=faiss/odd&query=plain&field=source")
    page.wait_for_selector("#points-body tr")
    assert HOSTILE in page.locator("#points-body td.id").all_inner_texts()
    assert page.locator("main img").count() == 0


def test_near_duplicates_of_a_document_are_shown(page: Any, dev: Dev) -> None:
    page.goto(dev.url + "/indexes/store?store=faiss/docs")
    row = page.locator("tbody tr").first
    key = row.get_attribute("data-id")
    row.get_by_role("button", name=f"Documents similar to {key}").click()
    page.wait_for_selector("#similar-body tbody tr")
    near = result(dev, "/util/faiss/docs/neighbours", {"id": key, "k": 10})["documents"]
    assert page.locator("#similar-body td.mono").all_inner_texts() == [one["metadata"]["id"] for one in near]
    page.keyboard.press("Escape")
    assert page.locator("#similar").is_hidden()
