"""The screen Indexes, without a browser: what its pages say is what the app's actions say."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from tests.browser.conftest import Dev
from tests.browser.stores import dev as dev
from tests.browser.stores import result
from tests.browser.stores_app import HOSTILE

pytestmark = pytest.mark.network


def page(dev: Dev, path: str, status: int = 200, **query: Any) -> str:
    params = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in query.items()}
    answer = dev.http.get(path, params=params or None, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    return answer.text


def ids(text: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(r'<tr data-id="([^"]*)"', text)]


def test_the_stores_are_listed_with_what_they_say_of_themselves(dev: Dev) -> None:
    text = page(dev, "/indexes")
    stats = result(dev, "/util/faiss/docs/stats", {})
    row = re.search(r"<tr>\s*<td><a[^>]*>faiss/docs</a>.*?</tr>", text, re.S)
    assert row is not None
    assert f'data-sort="{stats["count"]}"' in row[0]
    assert "healthy" in row[0]
    assert f">{stats['fingerprint']['dimensions']}<" in row[0]
    assert "asks who you are" in text
    assert "asks who you are" not in page(dev, "/indexes", context={"tenant": "a"})


def test_paging_through_a_store_shows_every_document_once(dev: Dev) -> None:
    seen: list[str] = []
    text = page(dev, "/indexes/store", store="faiss/docs")
    for _ in range(20):
        seen += ids(text)
        following = re.search(r'rel="next" href="([^"]*)"', text)
        if following is None:
            break
        text = page(dev, html.unescape(following[1]))
    total = result(dev, "/util/faiss/docs/page", {"count": True})["total"]
    assert len(seen) == len(set(seen)) == total > 300


def test_a_facet_leads_to_the_documents_that_it_counts(dev: Dev) -> None:
    text = page(dev, "/indexes/store", store="faiss/docs")
    facet = re.search(r'<a href="([^"]*)"><span class="value">baking</span> <span class="count">(\d+)</span>', text)
    assert facet is not None
    narrowed = page(dev, html.unescape(facet[1]))
    assert re.search(rf"<strong>{facet[2]}</strong> documents pass", narrowed)
    assert all(one.startswith("baking") for one in ids(narrowed))
    assert 'aria-current="true"' in narrowed


def test_namespace_prefix_and_context_narrow_what_is_shown(dev: Dev) -> None:
    assert len(ids(page(dev, "/indexes/store", store="faiss/docs", namespace="archive"))) == 3
    assert all(
        one.startswith("sailing-2") for one in ids(page(dev, "/indexes/store", store="faiss/docs", prefix="sailing-2"))
    )
    assert sorted(ids(page(dev, "/indexes/store", store="memory/rules", context={"tenant": "b"}))) == [
        "b0",
        "b1",
        "b2",
        "b3",
    ]
    assert ids(page(dev, "/indexes/store", store="memory/rules", context={"tenant": "b"}, prefix="a")) == []


def test_what_cannot_be_shown_is_told_on_the_page(dev: Dev) -> None:
    assert "$gtee" in page(dev, "/indexes/store", store="faiss/docs", filter={"year": {"$gtee": 1}})
    assert "required_filter" in page(dev, "/indexes/store", store="memory/rules")
    page(dev, "/indexes/store", status=404, store="faiss/nobody")
    page(dev, "/indexes/store", status=400, store="faiss/docs", filter="{not json")


def test_a_source_is_drawn_with_its_boundaries(dev: Dev) -> None:
    found = result(dev, "/util/faiss/docs/source", {"source": "baking-1.md"})
    text = page(dev, "/indexes/source", store="faiss/docs", source="baking-1.md")
    drawn = [html.unescape(one) for one in re.findall(r'<span class="piece [^>]*>(.*?)</span>', text, re.S)]
    assert drawn == [one["text"] for one in found["pieces"] if one["chunks"]]
    assert text.count('class="chunk-start"') == len(found["chunks"]) > 5
    assert text.count(" overlap") == sum(len(one["chunks"]) > 1 for one in found["pieces"])


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/indexes/store", {}),
        ("/indexes/source", {"source": HOSTILE}),
        ("/indexes/map", {"query": HOSTILE, "field": HOSTILE}),
        ("/indexes/store", {"prefix": HOSTILE, "namespace": HOSTILE}),
        ("/indexes/store", {"filter": {"source": HOSTILE}}),
    ],
)
def test_what_documents_hold_never_becomes_markup(dev: Dev, path: str, query: dict[str, Any]) -> None:
    text = page(dev, path, store="faiss/odd", **query)
    assert "<img src=x" not in text
    assert "<script>" not in text
    assert "${7*7}" not in text or "&#39;`${7*7}{{7*7}}" in text
    assert "49" not in re.sub(r"&#\d+;|\d{3,}", "", text)
