import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._documents.citations import find_citations
from genkit_rag._documents.document import Document

TOOL_KEYS = {key: Document(key) for key in ("b2ccdddd", "c3mddddd")}
NUMBERS = {str(n): Document(f"passage {n}") for n in (1, 2, 3, 4, 12)}
NAMES = {key: Document(key) for key in ("cats.md", "Smith, 2020", "a b", "x-2", "1")}


def keys(text: str, documents: dict[str, Document] = NUMBERS) -> tuple[list[str], list[str]]:
    found = find_citations(text, documents)
    return [citation.key for citation in found], found.unknown


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


TOOL = [
    ("See [b2ccdddd], [c3mddddd].", ["b2ccdddd", "c3mddddd"], []),
    ("Both [c3mddddd, b2ccdddd].", ["c3mddddd", "b2ccdddd"], []),
    ("Miscopied [b2ccddd], [b2ccddddd], [b2ccdddf].", [], ["b2ccddd", "b2ccddddd", "b2ccdddf"]),
    ("Numbers [1] are nobody's.", [], ["1"]),
    ("Words [x-3], [sic], [see below], [v2.0], [h264], [2024], [emphasis] are none.", [], []),
]


@pytest.mark.parametrize(("text", "known", "unknown"), TOOL)
def test_markers_of_a_retriever_tool(text: str, known: list[str], unknown: list[str]) -> None:
    assert keys(text, TOOL_KEYS) == (known, unknown)


REPAIRS = [
    ("A [1]. B [7].", "A [1]. B."),
    ("A [1, 7]. B [7, 9] C", "A [1]. B C"),
    ("A [9][2][8].", "A[2]."),
    ("A [1-3, 9].", "A [1, 2, 3]."),
    ("[9] starts.", " starts."),
    ("`a[9]` and [1] stay.", "`a[9]` and [1] stay."),
    ("", ""),
]


@pytest.mark.parametrize(("text", "repaired"), REPAIRS)
def test_a_text_without_its_unknown_keys(text: str, repaired: str) -> None:
    assert find_citations(text, NUMBERS).without_unknown(text) == repaired


def test_spans_are_the_markers_and_a_marker_counts_once() -> None:
    text = "A [1]. `[1]` B [2, 1, 1]."
    found = find_citations(text, NUMBERS)
    assert {c.key: [text[start:end] for start, end in c.spans] for c in found} == {
        "1": ["[1]", "[2, 1, 1]"],
        "2": ["[2, 1, 1]"],
    }
    assert found[0].document is NUMBERS["1"]


@given(st.text(st.sampled_from("[]()`~ \n,;-–12349abx^!.")) | st.text())
def test_any_text_is_read_and_spans_are_exact(text: str) -> None:
    for documents in (NUMBERS, NAMES, TOOL_KEYS, {}):
        found = find_citations(text, documents)
        for citation in found:
            assert citation.document is documents[citation.key]
            assert citation.spans
            assert citation.spans == sorted(set(citation.spans))
            for start, end in citation.spans:
                marker = text[start:end]
                assert marker[0] == "["
                assert marker[-1] == "]"
                assert citation.key in marker or "-" in marker or "–" in marker
        spans = sorted({span for citation in found for span in citation.spans})
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert not set(found.unknown) & set(documents)
        assert len(set(found.unknown)) == len(found.unknown)
        firsts = [citation.spans[0][0] for citation in found]
        assert firsts == sorted(firsts)


@pytest.mark.parametrize("unit", ["[", "]", "[1", "`", "` ``", "```\n", "[](", "[1](", "~~~ ", "[1,", "[1-", "`\n\n"])
def test_a_long_hostile_text_is_read(unit: str) -> None:
    text = unit * (400_000 // len(unit)) + "\n\nend [2]"
    found = find_citations(text, NUMBERS)
    assert all(text[start] + text[end - 1] == "[]" for citation in found for start, end in citation.spans)


@given(
    st.lists(st.sampled_from(["[1]", "[2, 9]", "[7]", "[8; 3]", "[1-3, 9]", " text", ".", "\n", " `[7]`"])).map("".join)
)
def test_a_repaired_text_names_the_same_passages_and_no_others(text: str) -> None:
    found = find_citations(text, NUMBERS)
    again = find_citations(found.without_unknown(text), NUMBERS)
    assert [citation.key for citation in again] == [citation.key for citation in found]
    assert [len(citation.spans) for citation in again] == [len(citation.spans) for citation in found]
    assert again.unknown == []
