from __future__ import annotations

import contextlib
import csv
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag._core.errors import GenkitError, MissingExtra
from genkit_rag.ingest import LoadContext, Loaders, LoadLimits, Section, UnreadableFile

from .pdf import encrypted, make_pdf

Load = Callable[..., tuple[list[Section], list[str]]]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_is_utf8_with_or_without_a_mark(load: Load, mark: bytes) -> None:
    sections, notes = load("a.txt", mark + "Grüße\r\n".encode())
    assert [section.text for section in sections] == ["Grüße\r\n"]
    assert notes == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_mark_tells_the_other_unicode_encodings(load: Load, encoding: str) -> None:
    assert load("a.txt", "Grüße".encode(encoding))[0][0].text == "Grüße"


def test_other_encodings_are_guessed_and_noted(load: Load) -> None:
    text = "Die Größe der Übung überraschte die Prüfer völlig, schöne Grüße aus München. " * 5
    sections, notes = load("a.txt", text.encode("cp1252"))
    assert sections[0].text == text
    assert "not UTF-8" in notes[0]


def test_without_a_guesser_western_encodings_are_understood(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    sections, notes = load("a.txt", "Größe".encode("latin-1"))
    assert sections[0].text == "Größe"
    assert notes == ["not UTF-8, read as cp1252"]
    sections, notes = load("b.txt", "Привет".encode("cp1251"))
    assert sections[0].text == "Ïðèâåò"
    assert notes == ["not UTF-8, read as latin-1"]


def test_invalid_bytes_far_behind_the_beginning_are_seen(load: Load) -> None:
    sections, notes = load("a.txt", b"a" * 3_000_000 + b"\xe9")
    assert "".join(section.text for section in sections) == "a" * 3_000_000 + "é"
    assert notes


@pytest.mark.parametrize("content", [b"\x7fELF\0\0\1", b"\xef\xbb\xbf\xff\xfe", b"\xff\xfea"])
def test_a_binary_file_is_refused(load: Load, content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        load("a.txt", content)


def test_markdown_has_the_title_of_its_front_matter_or_first_heading(load: Load) -> None:
    assert load("a.md", "---\nlang: en\ntitle: 'My page'\n---\n# Other\n")[0][0].metadata == {"title": "My page"}
    sections, _ = load("b.md", "intro\n# The heading #\ntext")
    assert sections[0].metadata == {"title": "The heading"}
    assert sections[0].markdown


HTML = """<html><head><title> My  page </title><style>p{}</style></head><body><nav>menu</nav>
<h1>Top <b>bold</b></h1><p>Hello <i>big</i>
 world &amp; more<br>second line</p>loose<div>a<p>b</p>c</div>
<ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>
<pre><code># no heading
  x = 1
</code></pre>
<table><tr><th>A<th>B</tr><tr><td>1|2<td><p>x</p>y</tr></table>
<h2>Next</h2>end<div hidden>secret</div><p style="display: none">hidden</p><script>evil()</script><!-- c --></body>"""


def test_html_gives_what_a_reader_sees_as_markdown(load: Load) -> None:
    sections, _ = load("a.html", HTML)
    assert sections[0].metadata == {"title": "My page"}
    assert sections[0].markdown
    assert sections[0].text.split("\n") == [
        "# Top bold",
        "",
        "Hello big world & more",
        "second line",
        "",
        "loose",
        "",
        "a",
        "",
        "b",
        "",
        "c",
        "",
        "- one",
        "  - inner",
        "- two",
        "",
        "```",
        "# no heading",
        "  x = 1",
        "```",
        "",
        "| A | B |",
        "| --- | --- |",
        "| 1\\|2 | x y |",
        "",
        "## Next",
        "",
        "end",
    ]


@pytest.mark.parametrize("content", ["", "<", "no tags", "<div>" * 900 + "deep", "<table><td>x<table><tr><td>y"])
def test_odd_html_is_read(load: Load, content: str) -> None:
    text = load("a.html", content)[0][0].text
    assert text == {"": "", "<": "<", "no tags": "no tags"}.get(content, text)
    assert ("deep" in text) == ("deep" in content)
    assert ("y" in text) == ("y" in content)


def test_html_is_read_in_the_encoding_that_it_declares(load: Load) -> None:
    page = '<meta charset="windows-1251"><p>Привет</p>'
    assert load("a.htm", page.encode("cp1251"))[0][0].text == "Привет"
    sections, notes = load("b.htm", '<meta charset="nonsense"><p>Grüße</p>')
    assert sections[0].text == "Grüße"
    assert "nonsense" in notes[0]


def test_a_pdf_gives_its_pages_with_numbers_and_title(load: Load) -> None:
    sections, notes = load("a.pdf", make_pdf(["First page\nwith two lines", "", "Third page"], "Report"))
    assert [(s.text, s.metadata) for s in sections] == [
        ("First page\nwith two lines", {"page": 1, "title": "Report"}),
        ("Third page", {"page": 3, "title": "Report"}),
    ]
    assert notes == []


def test_a_pdf_of_pictures_is_noted(load: Load) -> None:
    sections, notes = load("a.pdf", make_pdf(["", ""]))
    assert sections == []
    assert "OCR" in notes[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encrypted(make_pdf(["secret"]), "word"), "encrypted"),
        (b"%PDF-1.4\ngarbage", "damaged"),
        (b"", "damaged"),
        (make_pdf(["one", "two", "three"]), "max_pages"),
    ],
)
def test_a_pdf_that_cannot_be_read_says_why(load: Load, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        load("a.pdf", content, Loaders(LoadLimits(max_pages=2)))


def test_a_pdf_that_unfolds_into_too_much_text_is_refused(load: Load) -> None:
    with pytest.raises(UnreadableFile, match="max_text_characters"):
        load("a.pdf", make_pdf(["some words"] * 5), Loaders(LoadLimits(max_text_characters=20)))


def test_a_csv_gives_a_section_per_row(load: Load) -> None:
    content = 'id,name,note,score\n7,Ada,"two\nlines, and a comma",0.5\n8,Bob,,\n\n'
    sections, notes = load("a.csv", content)
    assert [section.text for section in sections] == [
        "id: 7\nname: Ada\nnote: two\nlines, and a comma\nscore: 0.5",
        "id: 8\nname: Bob",
    ]
    assert sections[0].metadata == {"id_": "7", "name": "Ada", "note": "two\nlines, and a comma", "score_": "0.5"}
    assert [section.row_id for section in sections] == ["7", "8"]
    assert notes == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_tells_what_separates_columns(load: Load, delimiter: str) -> None:
    sections, _ = load("a.csv", f"a{delimiter}b\r\n1{delimiter}2\r\n")
    assert sections[0].metadata == {"a": "1", "b": "2"}


def test_a_csv_row_with_too_many_fields_is_left_out_and_noted(load: Load) -> None:
    sections, notes = load("a.csv", "a,b\n1,2\n1,2,3\n4\n")
    assert [section.text for section in sections] == ["a: 1\nb: 2", "a: 4"]
    assert notes == ["1 of 3 rows left out (line 3: 3 fields under 2 columns)"]


def test_a_cell_beyond_the_limit_is_left_out_and_noted(load: Load) -> None:
    limit = csv.field_size_limit()  # of the process; loaders only raise it
    sections, notes = load("a.csv", f"text\n{'x' * (limit + 1)}\nfine\n", Loaders(LoadLimits(max_row_characters=10)))
    assert [section.text for section in sections] == ["text: fine"]
    assert "1 of 2 rows left out" in notes[0]


def test_a_cell_may_hold_a_whole_document(load: Load) -> None:
    assert len(load("a.csv", "text\n" + "x" * 500_000 + "\n")[0][0].text) == 500_006


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_long_text_is_not_repeated_in_the_metadata_of_every_chunk(load: Load, name: str) -> None:
    long = "x" * 5_000
    rows = {"a.csv": f"id,text,body\n7,short,{long}\n", "a.jsonl": f'{{"id": "7", "text": "short", "body": "{long}"}}'}
    section = load(name, rows[name])[0][0]
    assert "body" not in section.metadata
    assert section.metadata["id_"] == "7"


def test_json_lines_give_their_text_field_and_scalars(load: Load) -> None:
    content = '{"_id": "d1", "title": "T", "text": "Hello", "n": 3, "tags": ["x"], "big": 99999999999999999999}\n\n'
    content += '{"body": "B"}'
    sections, notes = load("a.jsonl", content)
    assert [section.text for section in sections] == ["Hello", "B"]
    assert sections[0].metadata == {"_id": "d1", "title_": "T", "n": 3, "big": "99999999999999999999"}
    assert (sections[0].row_id, sections[1].row_id) == ("d1", None)
    assert notes == []


def test_the_text_field_can_be_named(load: Load) -> None:
    loaders = Loaders(text_field="abstract")
    assert load("a.jsonl", '{"text": "no", "abstract": "yes"}', loaders)[0][0].text == "yes"
    with pytest.raises(UnreadableFile, match="`abstract`"):
        load("b.jsonl", '{"text": "no"}', loaders)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2"),
        ("[1]", "not a JSON object"),
        ('{"a": 1}', "no text in"),
        ('{"text": 5}', "no text in"),
        ('{"text": "x", "n": ' + "1" * 5000 + "}", "line 2"),
        ('{"text": "x", "d": ' + "[" * 70 + "]" * 70 + "}", "nests deeper than 64"),
        ('{"text": "x", "d": ' + "[" * 100_000, "nests deeper than 64"),
        ('{"text": "' + "x" * 200_000 + '"}', "longer than 150,000"),
    ],
)
def test_a_bad_line_is_left_out_and_noted(load: Load, line: str, reason: str) -> None:
    good = '{"text": "fine"}'
    sections, notes = load("a.jsonl", f"{good}\n{line}\n{good}\n", Loaders(LoadLimits(max_row_characters=150_000)))
    assert [section.text for section in sections] == ["fine", "fine"]
    assert notes[0].startswith("1 of 3 lines left out")
    assert reason in notes[0]


def test_brackets_in_strings_are_no_depth(load: Load) -> None:
    assert load("a.jsonl", '{"text": "' + "[{" * 100 + '"}')[0][0].text == "[{" * 100


def test_rows_are_storable_whatever_they_hold(load: Load) -> None:
    sections, _ = load("a.jsonl", '{"text": "a\\ud800b", "x": NaN, "y": 1e999, "z": "\\udc00"}')
    assert sections[0].text == "a\ufffdb"
    assert sections[0].metadata == {"x": None, "y": None, "z": "\ufffd"}


def test_rows_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for number in range(60_000):
            file.write(f'{{"id": {number}, "text": "{"words " * 50}"}}\n')
    tracemalloc.start()
    try:
        assert sum(1 for _ in Loaders().load(path)) == 60_000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "extra", "package"), [("a.pdf", "pdf", "pypdfium2"), ("a.html", "html", "selectolax")]
)
def test_a_missing_package_names_the_command_that_installs_it(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, extra: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.lexbor", None)
    with pytest.raises(MissingExtra, match=rf"{package}.*genkit-rag\[{extra}\]"):
        load(name, "x")


def test_a_file_beyond_the_limit_is_refused(load: Load) -> None:
    with pytest.raises(UnreadableFile, match="max_file_bytes"):
        load("a.txt", "12345", Loaders(LoadLimits(max_file_bytes=4)))


def test_a_suffix_can_be_registered(load: Load) -> None:
    def shout(path: Path, context: LoadContext) -> Iterator[Section]:
        context.note("loud")
        yield Section(path.read_text().upper())

    loaders = Loaders()
    with pytest.raises(UnreadableFile, match=r"\.shout"):
        load("a.shout", "hi", loaders)
    loaders.register(".SHOUT", shout)
    sections, notes = load("a.shout", "hi", loaders)
    assert (sections[0].text, notes) == ("HI", ["loud"])
    with pytest.raises(GenkitError, match="`suffix`"):
        loaders.register("shout", shout)


def test_files_without_a_suffix_are_text(load: Load) -> None:
    assert load("README", "hello")[0][0].text == "hello"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.sampled_from([".txt", ".md", ".html", ".csv", ".jsonl", ".pdf"]), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_with_a_reason(load: Load, suffix: str, content: bytes) -> None:
    with contextlib.suppress(UnreadableFile):
        for section in load(f"a{suffix}", content)[0]:
            section.text.encode()
