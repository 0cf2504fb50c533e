from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path

import pytest

from genkit_rag._core.errors import MissingExtra
from genkit_rag.ingest import Loaders, LoadLimits, Section, UnreadableFile

from .office import make_docx, make_epub, make_ods, make_pptx, make_xlsx, with_part

Load = Callable[..., tuple[list[Section], list[str]]]


def test_a_word_document_keeps_headings_lists_and_tables_in_their_order(load: Load) -> None:
    (section,), notes = load("a.docx", make_docx())
    assert section.markdown
    assert section.metadata == {"title": "The report", "author": "Ada"}
    assert section.text.split("\n") == [
        "# The report",
        "",
        "# First part",
        "",
        "Before inserted",
        "",
        "| name | pri\\|ce |",
        "| --- | --- |",
        "| small | 5 |",
        "| merged |  |",
        "",
        "between",
        "",
        "- one",
        "- two",
        "1. three",
        "",
        "## Second part",
        "",
        "in a control",
    ]
    assert notes == []


def test_a_presentation_gives_a_section_per_slide(load: Load) -> None:
    sections, notes = load("a.pptx", make_pptx())
    assert [section.metadata["page"] for section in sections] == [1, 3]
    assert sections[0].metadata["title"] == "Plans"
    assert sections[0].text.split("\n") == [
        "# Plans",
        "",
        "- small",
        "  - cheap",
        "",
        "| plan | price |",
        "| --- | --- |",
        "| small | 5 |",
        "",
        "Notes: Say it slowly.",
    ]
    assert sections[1].text == "The end"
    assert all(section.markdown for section in sections)
    assert notes == []


def test_the_title_of_a_presentation_is_its_own_before_that_of_a_slide(load: Load) -> None:
    sections, _ = load("a.pptx", make_pptx("Prices 2030"))
    assert {section.metadata["title"] for section in sections} == {"Prices 2030"}


def test_a_workbook_gives_its_rows_sheet_by_sheet(load: Load) -> None:
    rows = [
        [],
        ["id", "name", "when", "row", None, "name"],
        [7, "Ada", datetime(2030, 5, 1), 1.5, "x", "Lovelace"],
        [],
        [8.0, None, datetime(2030, 5, 1, 12, 30), True, None, time(9, 5)],
    ]
    sections, notes = load("a.xlsx", make_xlsx({"People": rows, "Empty": [], "More": [["id"], [7]]}))
    assert sections[0].text == "id: 7\nname: Ada\nwhen: 2030-05-01\nrow: 1.5\ncolumn_5: x\nname_6: Lovelace"
    assert sections[0].metadata == {
        "id_": 7,
        "name": "Ada",
        "when": "2030-05-01",
        "row_": 1.5,
        "column_5": "x",
        "name_6": "Lovelace",
        "sheet": "People",
        "row": 3,
    }
    assert sections[1].metadata["when"] == "2030-05-01T12:30:00"
    assert (sections[1].metadata["row_"], sections[1].metadata["name_6"]) == (True, "09:05:00")
    assert [(s.metadata["sheet"], s.metadata["row"], s.row_id) for s in sections] == [
        ("People", 3, "7"),
        ("People", 5, "8"),
        ("More", 2, "7"),
    ]
    assert len({section.key for section in sections}) == 3
    assert notes == []


def test_an_opendocument_sheet_is_read_alike(load: Load) -> None:
    sections, _ = load("a.ods", make_ods([["name", "when"], ["Ada", date(2030, 5, 1)], ["Bob", 2.5]]))
    assert [section.text for section in sections] == ["name: Ada\nwhen: 2030-05-01", "name: Bob\nwhen: 2.5"]


def test_a_row_that_is_too_long_is_left_out_and_noted(load: Load) -> None:
    content = make_xlsx({"S": [["text"], ["x" * 5000], ["fine"]]})
    sections, notes = load("a.xlsx", content, Loaders(LoadLimits(max_row_characters=1000)))
    assert [section.text for section in sections] == ["text: fine"]
    assert notes == ["1 rows left out: longer than max_row_characters=1,000"]


def test_rows_are_read_only_as_far_as_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(make_xlsx({"S": [["n"], *([number] for number in range(20_000))]}))
    rows = Loaders().load(path)
    assert next(rows).text == "n: 0"
    rows.close()  # type: ignore[attr-defined]  # ends the reading process; a leak would be a ResourceWarning


def test_a_book_gives_its_chapters_in_reading_order(load: Load) -> None:
    book = make_epub({"b%20one.xhtml": "<h1>One</h1><p>first</p>", "gone.xhtml": "", "a.xhtml": "<p>last</p>"})
    sections, notes = load("a.epub", book)
    assert [(section.text, section.metadata) for section in sections] == [
        ("# One\n\nfirst", {"title": "The book", "author": "Ada", "chapter": 1}),
        ("last", {"title": "The book", "author": "Ada", "chapter": 3}),
    ]
    assert "chapter 2 is missing" in notes[0]


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub", "a.ods"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "damaged or not"), (b"PK\3\4 nothing", "damaged or not"), (OLE, "password"), (make_epub({})[:-30], "dam")],
)
def test_an_office_file_that_cannot_be_read_says_why(load: Load, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        load(name, content)


def test_a_part_that_is_damaged_makes_the_file_unreadable(load: Load) -> None:
    with pytest.raises(UnreadableFile, match="damaged or not a Word document"):
        load("a.docx", with_part(make_docx(), "word/document.xml", "<w:document"))
    with pytest.raises(UnreadableFile, match="damaged"):
        load("a.xls", b"garbage")


@pytest.mark.parametrize(
    ("name", "extra", "package"),
    [
        ("a.docx", "office", "docx"),
        ("a.pptx", "office", "pptx"),
        ("a.xlsx", "office", "python_calamine"),
        ("a.xml", "xml", "defusedxml"),
    ],
)
def test_a_missing_package_names_the_extra(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, extra: str, package: str
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"genkit-rag\[{extra}\]"):
        load(name, "x")
