import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._blocks.citations import find_citations
from genkit_rag._blocks.document import Document

NUMBERS = {str(n): Document(f"passage {n}") for n in (1, 2, 3, 4, 12)}
NAMES = {key: Document(key) for key in ("cats.md", "Smith, 2020", "a b", "x-2", "1")}


def keys(text: str, documents: dict[str, Document] = NUMBERS) -> tuple[list[str], list[str]]:
    found, unknown = find_citations(text, documents)
    return [citation.key for citation in found], unknown


TABLE = [
    ("Cats sleep [1].", ["1"], []),
    ("Cats sleep[1], dogs bark[12].", ["1", "12"], []),
    ("Both [1, 2] and [2,1].", ["1", "2"], []),
    ("Both [1][2].", ["1", "2"], []),
    ("Semicolons [1; 3].", ["1", "3"], []),
    ("Ranges [1-3] and [2–4].", ["1", "2", "3", "4"], []),
    ("Spaces [ 1 ].", ["1"], []),
    ("Order [2] then [1].", ["2", "1"], []),
    ("Unknown [9], [1, 8] and [0].", ["1"], ["9", "8", "0"]),
    ("A range to nowhere [1-999].", [], []),
    ("Years [2024] are none.", [], []),
    ("Words [sic] [x] [ ] [see below] [a, b] are none.", [], []),
    ("A word beside a key [1, page].", ["1"], ["page"]),
    ("A [link](https://x.org/[1]) and [1](https://x.org).", [], []),
    ("A link [1](https://x.org) alone.", [], []),
    ("An image ![2](a.png).", [], []),
    ("Not a link [1] (see there).", ["1"], []),
    ("Code `a[1]` and ``b`[2]`` stays.", [], []),
    ("A lone ` is no code [1].", ["1"], []),
    ("A lone ` is no code\n\nin another paragraph ` [1].", ["1"], []),
    ("```python\na[1]\n```\nafter [2]", ["2"], []),
    ("~~~\na[1]\n~~~\nafter [2]", ["2"], []),
    ("```\nnever closed [1]", [], []),
    ("Footnotes [^1] and checks [x].", [], []),
    ("Nested [[1]].", ["1"], []),
    ("Open [1 and close 2].", [], []),
    ("Over\nlines [1\n].", [], []),
    ("", [], []),
]


@pytest.mark.parametrize(("text", "known", "unknown"), TABLE)
def test_numbered_markers(text: str, known: list[str], unknown: list[str]) -> None:
    assert keys(text) == (known, unknown)


NAMED = [
    ("See [cats.md].", ["cats.md"], []),
    ("See [Smith, 2020] and [a b].", ["Smith, 2020", "a b"], []),
    ("See [cats.md, x-2; 1].", ["cats.md", "x-2", "1"], []),
    ("See [dogs.md] and [x-3].", [], ["dogs.md", "x-3"]),
    ("Words [sic] and [see below] are none.", [], []),
    ("Case [Cats.md] counts.", [], ["Cats.md"]),
]


@pytest.mark.parametrize(("text", "known", "unknown"), NAMED)
def test_named_markers(text: str, known: list[str], unknown: list[str]) -> None:
    assert keys(text, NAMES) == (known, unknown)


def test_spans_are_the_markers_and_a_marker_counts_once() -> None:
    text = "A [1]. `[1]` B [2, 1, 1]."
    found, _ = find_citations(text, NUMBERS)
    assert {c.key: [text[start:end] for start, end in c.spans] for c in found} == {
        "1": ["[1]", "[2, 1, 1]"],
        "2": ["[2, 1, 1]"],
    }
    assert found[0].document is NUMBERS["1"]


@given(st.text(st.sampled_from("[]()`~ \n,;-–12349abx^!.")) | st.text())
def test_any_text_is_read_and_spans_are_exact(text: str) -> None:
    for documents in (NUMBERS, NAMES):
        found, unknown = find_citations(text, documents)
        for citation in found:
            assert citation.document is documents[citation.key]
            assert citation.spans
            assert citation.spans == sorted(set(citation.spans))
            for start, end in citation.spans:
                marker = text[start:end]
                assert marker[0] == "["
                assert marker[-1] == "]"
                assert citation.key in marker or "-" in marker or "–" in marker
        assert not set(unknown) & set(documents)
        firsts = [citation.spans[0][0] for citation in found]
        assert firsts == sorted(firsts)


@pytest.mark.parametrize("unit", ["[", "]", "[1", "`", "` ``", "```\n", "[](", "[1](", "~~~ ", "[1,", "[1-", "`\n\n"])
def test_a_long_hostile_text_is_read(unit: str) -> None:
    text = unit * (400_000 // len(unit)) + "\n\nend [2]"
    found, _ = find_citations(text, NUMBERS)
    assert all(text[start] + text[end - 1] == "[]" for citation in found for start, end in citation.spans)
