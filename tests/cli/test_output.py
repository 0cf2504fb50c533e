"""Cleaning, JSON and snippets, for any text."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._cli.output import clean, one_line, to_json
from genkit_rag._cli.stores.snippets import snippet_of

ANY = st.text(st.characters())
"""Every code point, lone surrogates too."""
ALLOWED = {"\n", "\t", "\u200b", "\u200c", "\u200d", "\u2060", "\u00ad"}


def steers(text: str) -> bool:
    """Returns whether there is a control character, a bidirectional mark or a lone surrogate."""
    controls = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in ALLOWED for c in text)
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return controls or any(unicodedata.bidirectional(c) in bidi for c in text)


@given(ANY)
def test_clean_text_never_steers_a_terminal(text: str) -> None:
    assert not steers(clean(text))
    assert "\n" not in one_line(text)
    clean(text).encode()


@given(ANY)
def test_clean_text_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("text", ["Olá, ação!", "日本語", "👩‍👩‍👧", "a\n\tb", "[red]x[/red]"])
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert clean(text) == text


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=6))
def test_json_is_lossless_and_never_steers_a_terminal(value: object) -> None:
    text = to_json(value)
    assert not steers(text)
    assert json.loads(text) == json.loads(json.dumps(value))


@given(ANY, ANY, st.integers(20, 200))
def test_a_snippet_is_short_and_its_spans_are_words_of_the_query(text: str, query: str, width: int) -> None:
    snippet = snippet_of(text, query, width)
    assert len(snippet.text) <= width + 4
    assert not steers(snippet.text)
    for start, end in snippet.spans:
        word = snippet.text[start:end].casefold()
        assert any(word.startswith(term[:3]) or term.startswith(word[:3]) for term in query.casefold().split()) or word


def test_a_snippet_shows_the_window_with_most_of_the_query() -> None:
    text = "Refunds. " + "filler " * 100 + "Refunds are paid within fourteen days. " + "filler " * 100
    snippet = snippet_of(text, "When are refunds paid?", 80)
    assert "Refunds are paid within" in snippet.text
    assert snippet.text.startswith("… ")
    assert [snippet.text[start:end] for start, end in snippet.spans] == ["Refunds", "are", "paid"]


def test_a_snippet_finds_other_forms_of_a_word() -> None:
    snippet = snippet_of("The tokens were renewed.", "renew token")
    assert [snippet.text[start:end] for start, end in snippet.spans] == ["tokens", "renewed"]


def test_a_snippet_of_a_text_without_the_words_is_its_beginning() -> None:
    assert snippet_of("One two three. " * 50, "zebra", 40).text.startswith("One two three.")
