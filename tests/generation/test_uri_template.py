"""URI templates."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genkit_rag._generation.uri_template import UriTemplate
from genkit_rag.plugin_api import GenkitError

RESERVED = ":/?#[]@!$&'()*+,;="


def expand(template: str, values: dict[str, str]) -> str:
    """Returns the URI: simple and reserved expansion of RFC 6570, with every `%` encoded."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
        for rest in (f"{{+{name}}}", f"{{{name}*}}"):
            template = template.replace(rest, quote(value, safe=RESERVED))
    return template


@pytest.mark.parametrize(
    ("template", "uri", "values"),
    [
        ("docs://start", "docs://start", {}),
        ("docs://start", "docs://start/", None),
        ("docs://{name}", "docs://a.md", {"name": "a.md"}),
        ("docs://{name}", "docs://", None),
        ("docs://{name}", "docs://a/b", None),
        ("docs://{name}", "docs://a?b", None),
        ("docs://{name}", "docs://a%2Fb%20c", {"name": "a/b c"}),
        ("docs://{name}", "docs://%ff", None),
        ("docs://{shelf}/{+path}", "docs://law/a/b.md", {"shelf": "law", "path": "a/b.md"}),
        ("docs://{shelf}/{path*}", "docs://law/a/b.md", {"shelf": "law", "path": "a/b.md"}),
        ("file://{+path}.md", "file:///a/b.md", {"path": "/a/b"}),
        ("file://{+path}.md", "file:///a/b.txt", None),
        ("x:{+path}/v/{version}", "x:a/v/b/v/1", {"path": "a/v/b", "version": "1"}),
        ("x:{a}-{b}", "x:1-2-3", {"a": "1", "b": "2-3"}),
        ("users:{id}/posts/{post}/end", "users:7/posts/9/end", {"id": "7", "post": "9"}),
        ("users:{id}/posts/{post}/end", "users:7/posts//end", None),
        ("{+uri}", "https://x/y?z#w", {"uri": "https://x/y?z#w"}),
    ],
)
def test_a_template_matches_segments_and_rests(template: str, uri: str, values: dict[str, str] | None) -> None:
    assert UriTemplate(template).match(uri) == values


@pytest.mark.parametrize(
    "template",
    [
        "a:{",
        "a:}",
        "a:{}",
        "a:{1}",
        "a:{a}{b}",
        "a:{a}/{a}",
        "a:{+a}/{+b}",
        "a:{+a}/{b*}",
        "a:{?q}",
        "a:{/p}",
        "a:{+a*}",
        "a:{{a}}",
        "a:{a:3}",
    ],
)
def test_a_template_that_cannot_be_matched_in_one_way_is_refused(template: str) -> None:
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*template"):
        UriTemplate(template)


SEPARATORS = st.text("/?#", min_size=1, max_size=2) | st.sampled_from(["/v/", "/-/", "#a"])
NAMES = [*string.ascii_lowercase]


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Returns a template whose pieces cannot be part of an encoded value."""
    count = draw(st.integers(1, 4))
    rest = draw(st.none() | st.integers(0, count - 1))
    holes = [f"{{+{n}}}" if number == rest else f"{{{n}}}" for number, n in enumerate(NAMES[:count])]
    text = "x://" + holes[0]
    for hole in holes[1:]:
        text += draw(SEPARATORS) + hole
    return text


@given(templates(), st.data())
def test_what_was_expanded_is_what_is_matched(text: str, data: st.DataObject) -> None:
    template = UriTemplate(text)
    rest = next((name for name in template.names if f"{{+{name}}}" in text), None)
    values = {
        name: data.draw(
            st.text(st.characters(codec="utf-8", exclude_characters="/?#" if name == rest else ""), min_size=1)
        )
        for name in template.names
    }
    assert template.match(expand(text, values)) == values


def oracle(text: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{[^}]*\})", text)
    return re.compile(
        "".join(".+" if "+" in p else "[^/?#]+" if p.startswith("{") else re.escape(p) for p in pieces), re.DOTALL
    )


@given(
    st.lists(st.sampled_from(["a", "/", "-", "a-", "-/", "/-"]), min_size=3, max_size=3),
    st.none() | st.integers(0, 2),
    st.text("a-/", max_size=9),
)
@example(["", "-", ""], None, "a--a")
def test_a_match_is_found_when_there_is_one(pieces: list[str], rest: int | None, uri: str) -> None:
    holes = [f"{{+{name}}}" if number == rest else f"{{{name}}}" for number, name in enumerate("xyz")]
    text = f"{holes[0]}{pieces[0]}{holes[1]}{pieces[1] or '-'}{holes[2]}{pieces[2]}"
    if not pieces[0]:
        text = f"{holes[0]}{pieces[1]}{holes[1]}"
    assert (UriTemplate(text).match(uri) is not None) == (oracle(text).fullmatch(uri) is not None)


def test_a_hostile_uri_costs_no_more_than_a_long_one() -> None:
    # A backtracking matcher would take longer than the universe has for this.
    template = UriTemplate("-".join(f"{{{name}}}" for name in NAMES) + "!")
    assert template.match("-" * 100_000) is None
    assert template.match("a-" * 100_000 + "?!") is None
