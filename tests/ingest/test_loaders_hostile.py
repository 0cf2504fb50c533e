"""Files that want to exhaust the machine, or to read what is not theirs. Each is loaded in a process of its own."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.ingest import Loaders, Section, UnreadableFile

from .office import make_docx, make_epub, make_ods, make_pptx, make_tar, make_xlsx, make_zip, ods_content, with_part
from .pdf import make_pdf

pytest.importorskip("resource")

_RUN = """
import json, resource, sys
from pathlib import Path
from genkit_rag.ingest import Loaders, UnreadableFile
import docx, pptx, lxml.etree, selectolax.lexbor, pypdfium2, charset_normalizer, defusedxml.ElementTree

def peak(who):
    return resource.getrusage(who).ru_maxrss // 1024

before = peak(resource.RUSAGE_SELF)
for path in sys.argv[1:]:
    notes, texts, reason, characters = [], [], "", 0
    try:
        for section in Loaders().load(Path(path), notes.append):
            characters += len(section.text)
            texts = [*texts, section.text[:200]][:10]
    except UnreadableFile as error:
        reason = str(error)
    own, child = peak(resource.RUSAGE_SELF) - before, peak(resource.RUSAGE_CHILDREN)
    print(json.dumps({"reason": reason, "notes": notes, "texts": texts, "characters": characters,
                      "megabytes": own, "child": child}))
"""


@dataclass
class Outcome:
    reason: str
    notes: list[str]
    texts: list[str]
    characters: int
    megabytes: int
    child: int


Attack = Callable[..., Outcome]
Attacks = Callable[[list[tuple[str, bytes]]], list[Outcome]]


@pytest.fixture
def attacks(tmp_path: Path) -> Attacks:
    """Loads files in a process of its own and says what came of each; it must not crash, nor grow, nor hang."""

    def attacks(files: list[tuple[str, bytes]], megabytes: int = 200) -> list[Outcome]:
        paths: list[Path] = []
        for number, (name, content) in enumerate(files):
            paths.append(tmp_path / f"attack-{number}" / name)
            paths[-1].parent.mkdir()
            paths[-1].write_bytes(content)
        run = subprocess.run([sys.executable, "-c", _RUN, *paths], capture_output=True, timeout=120)
        assert run.returncode == 0, run.stderr.decode()[-2000:]
        outcomes = [Outcome(**json.loads(line)) for line in run.stdout.splitlines()]
        assert len(outcomes) == len(files)
        assert outcomes[-1].megabytes < megabytes
        return outcomes

    return attacks


@pytest.fixture
def attack(attacks: Callable[..., list[Outcome]]) -> Attack:
    """Loads one file so."""
    return lambda name, content, megabytes=200: attacks([(name, content)], megabytes)[0]


def zeros(count: int) -> bytes:
    """Returns a zip archive with a text of that many zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros.txt", "w") as member:
        block = b"0" * 1_000_000
        for _ in range(count // len(block)):
            member.write(block)
    return buffer.getvalue()


def test_a_small_archive_does_not_unfold_into_gigabytes(attacks: Attacks) -> None:
    bomb = zeros(500_000_000)
    nested = make_zip({f"{number}.zip": make_zip({f"{n}.zip": bomb for n in range(3)}) for number in range(3)})
    for outcome in attacks([("a.zip", bomb), ("b.zip", nested)]):
        assert "max_ratio=200" in outcome.reason


def test_gzip_and_tar_bombs_are_refused(attacks: Attacks) -> None:
    header = tarfile.TarInfo("long.txt")
    header.type, header.size = tarfile.XHDTYPE, 100_000_000
    long_header = header.tobuf() + b"9" * 100_000_000 + bytes(10240)
    names = b"".join(_long_name() for _ in range(20_000)) + bytes(10240)
    bombs = attacks([("a.txt.gz", gzip.compress(b"0" * 200_000_000)), ("b.tar", long_header), ("c.tar", names)])
    assert "max_ratio" in bombs[0].reason
    assert all(outcome.reason and outcome.characters == 0 for outcome in bombs)


def _long_name() -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5
    return header.tobuf() + b"name\0".ljust(512, b"\0")


def test_an_archive_of_a_hundred_thousand_entries_is_refused(attacks: Attacks) -> None:
    many = make_zip({f"{number}.bin": "" for number in range(100_000)})
    files = [(name, many) for name in ("a.zip", "a.docx", "a.xlsx", "a.epub", "a")]
    files.append(("a.tar", make_tar({f"{number}.bin": b"" for number in range(30_000)})))
    for outcome in attacks(files):
        assert "max_entries" in outcome.reason


def test_entries_that_share_their_bytes_are_refused(attack: Attack) -> None:
    with zipfile.ZipFile(buffer := io.BytesIO(zeros(10_000_000)), "a") as archive:
        kernel = archive.infolist()[0]
        for number in range(1000):
            copy = zipfile.ZipInfo(f"{number}.txt")
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(copy, field, getattr(kernel, field))
            archive.filelist.append(copy)
        archive._didModify = True  # type: ignore[attr-defined]
    assert "overlap" in attack("a.zip", buffer.getvalue()).reason


def test_a_size_that_lies_does_no_harm(attacks: Attacks) -> None:
    honest = zeros(50_000_000)
    files: list[tuple[str, bytes]] = []
    for lie in (0, 1, 100, 2**32 - 2):
        content = bytearray(honest)
        for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            place = content.index(mark) + offset
            content[place : place + 4] = lie.to_bytes(4, "little")
        files.append(("a.zip", bytes(content)))
    for outcome in attacks(files):
        assert outcome.reason or outcome.notes
        assert outcome.characters == 0


def test_office_bombs_are_refused(attacks: Attacks) -> None:
    bomb = b"<a>" * 50_000_000
    packages = {"a.docx": make_docx(), "a.pptx": make_pptx(), "a.xlsx": make_xlsx({"S": [[1]]})}
    parts = ["docProps/core.xml", "x.png"]
    files = [(name, with_part(package, part, bomb)) for name, package in packages.items() for part in parts]
    for outcome in attacks(files):
        assert "max_ratio" in outcome.reason or "max_tree_bytes" in outcome.reason


def test_xml_that_stays_below_the_ratio_is_bounded_by_its_tags(attack: Attack) -> None:
    noise = bytes(range(256)) * 2000  # what makes the file large enough
    package = with_part(
        with_part(make_docx(), "word/media/x.bin", noise * 4), "word/document.xml", b"<w:p/>" * 5_000_000
    )
    assert attack("a.docx", package).reason


CORNERS = (
    '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    "</sheetData></worksheet>"
)


def test_a_sheet_of_two_cells_in_its_corners_costs_no_memory_here(attack: Attack) -> None:
    bomb = with_part(make_xlsx({"S": [[1]]}), "xl/worksheets/sheet1.xml", CORNERS)
    outcome = attack("a.xlsx", bomb)
    assert "max_memory_bytes" in outcome.reason
    assert outcome.child < 1100


def test_repeated_cells_cost_no_memory_here(attack: Attack) -> None:
    cell = '<table:table-cell table:number-columns-repeated="2000000000" office:value-type="float" office:value="1"/>'
    row = f'<table:table-row table:number-rows-repeated="2000000000">{cell}</table:table-row>'
    outcome = attack("a.ods", with_part(make_ods([["a"]]), "content.xml", ods_content(row)))
    assert outcome.reason
    assert outcome.child < 1100


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12))


def doctypes(canary: Path) -> Iterator[str]:
    yield f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]>'
    yield f'<!DOCTYPE a [<!ENTITY l12 SYSTEM "{canary.as_uri()}">]>'
    yield f'<!DOCTYPE a [<!ENTITY % p SYSTEM "{canary.as_uri()}">%p;<!ENTITY l12 "x">]>'
    yield f'<!DOCTYPE a SYSTEM "{canary.as_uri()}" [<!ENTITY l12 "{"x" * 1000}">]>'


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "ods", "epub", "xml", "epub-page"])
def test_entities_are_never_followed(attacks: Attacks, tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary.txt"
    canary.write_text("canary-51")
    files = [
        (f"a.{kind.split('-')[0]}", _carrier(kind, f'<?xml version="1.0" encoding="{encoding}"?>{doctype}', encoding))
        for doctype in doctypes(canary)
        for encoding in ("utf-8", "utf-16")
    ]
    for outcome in attacks(files):
        assert not any("canary-51" in text or "lollol" in text for text in (*outcome.texts, *outcome.notes))
        assert outcome.characters < 5000
        if kind in ("docx", "pptx", "xml"):
            assert outcome.reason


def _carrier(kind: str, head: str, encoding: str) -> bytes:
    def xml(body: str) -> bytes:
        return (head + body).encode(encoding)

    w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    if kind == "docx":
        body = f'<w:document xmlns:w="{w}"><w:body><w:p><w:r><w:t>&l12;</w:t></w:r></w:p></w:body></w:document>'
        return with_part(make_docx(), "word/document.xml", xml(body))
    if kind == "pptx":
        properties = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
        return with_part(
            make_pptx(),
            "docProps/core.xml",
            xml(f'<cp:coreProperties xmlns:cp="{properties}">&l12;</cp:coreProperties>'),
        )
    if kind == "xlsx":
        sheet = (
            CORNERS.removeprefix('<?xml version="1.0"?>').replace('"XFD1048576"', '"B2"').replace('"1048576"', '"2"')
        )
        sheet = sheet.replace('<c r="B2"><v>2</v>', '<c r="B2" t="str"><v>&l12;</v>')
        return with_part(make_xlsx({"S": [[1]]}), "xl/worksheets/sheet1.xml", xml(sheet))
    if kind == "ods":
        cell = '<table:table-cell office:value-type="string"><text:p>&l12;</text:p></table:table-cell>'
        sheet = ods_content(f"<table:table-row>{cell}</table:table-row>" * 2).removeprefix('<?xml version="1.0"?>')
        return with_part(make_ods([["a"]]), "content.xml", xml(sheet))
    if kind == "epub":
        return with_part(
            make_epub({"a.xhtml": "<p>x</p>"}), "OEBPS/book.opf", xml("<package><metadata>&l12;</metadata></package>")
        )
    if kind == "epub-page":
        return with_part(make_epub({"a.xhtml": "<p>x</p>"}), "OEBPS/a.xhtml", xml("<html><body>&l12;</body></html>"))
    return xml("<a>&l12;</a>")


def test_a_page_nested_a_hundred_thousand_deep_is_refused(attacks: Attacks) -> None:
    tags = ["<div>", "<span>", "<b>", "<ul><li>", "<table><tr><td>", "<div><object></div></object>"]
    for outcome in attacks([("a.html", tag.encode() * 100_000 + b"x") for tag in tags]):
        assert "nests deeper" in outcome.reason


def test_a_page_whose_tags_open_again_and_again_is_refused(attack: Attack) -> None:
    tags = "".join(f"<b id={number}>" for number in range(900))
    assert "elements" in attack("a.html", f"<p>{tags}</p>".encode() + b"<p>x" * 100_000).reason


def test_deep_json_xml_and_mail_raise_no_recursion_error(attacks: Attacks) -> None:
    parts = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(20_000))
    rows, notebook, xml, multipart, comment, parameters = attacks(
        [
            ("a.json", b'[{"text":' + b"[" * 100_000),
            ("a.ipynb", b'{"cells":' + b"[" * 100_000),
            ("a.xml", b"<a>" * 100_000 + b"x" + b"</a>" * 100_000),
            ("a.eml", parts.encode()),
            ("a.eml", b"From: " + b"(" * 100_000 + b"\n\nbody"),
            ("a.eml", b"Content-Type: text/plain; " + b'a="b"; ' * 100_000 + b"\n\nbody"),
        ]
    )
    assert rows.texts[0].startswith('[{"text":[[')
    assert "damaged or not a notebook" in notebook.reason
    assert xml.texts == ["x"]
    assert "damaged or not an e-mail" in multipart.reason
    assert (comment.texts, parameters.texts) == (["body"], ["body"])


def test_a_pdf_whose_pages_hold_themselves_is_refused(attack: Attack) -> None:
    looped = make_pdf(["one"]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")
    assert b"/Kids [2 0 R]" in looped
    assert attack("a.pdf", looped).characters == 0


def test_a_large_archive_is_streamed(attack: Attack) -> None:
    words = [f"{number * 7919 % 100_003:x}" for number in range(100_000)]
    rows = [f'{{"text": "{" ".join(words[number * 200 : number * 200 + 200])}"}}\n' for number in range(500)]
    archive = make_zip({f"{number}.jsonl": "".join(rows) * 30 for number in range(2)})
    outcome = attack("a.zip", archive, megabytes=30)
    assert outcome.characters == sum(len(row) - len('{"text": ""}\n') for row in rows) * 30 * 2


SUFFIXES = sorted(Loaders()._by_suffix)
SEEDS = {
    ".docx": make_docx(),
    ".pptx": make_pptx(),
    ".epub": make_epub({"a.xhtml": "<p>x</p>"}),
    ".zip": make_zip({"a.txt": "x"}),
    ".tar": make_tar({"a.txt": b"x"}),
    ".gz": gzip.compress(b"x"),
    ".pdf": make_pdf(["x"]),
    ".eml": b"Subject: x\n\nbody",
    ".json": b'[{"text": "x"}]',
    ".ipynb": b'{"cells": [{"source": "x"}]}',
    ".xml": b"<a>x</a>",
    ".html": b"<p>x",
    ".mbox": b"From a\nSubject: x\n\nbody\n",
}
SLOW = frozenset((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"))  # each in a process


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.sampled_from([s for s in SUFFIXES if s not in SLOW]), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    load: Callable[..., tuple[list[Section], list[str]]], suffix: str, content: bytes
) -> None:
    _load(load, suffix, content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_a_damaged_file_is_read_or_refused(
    load: Callable[..., tuple[list[Section], list[str]]], suffix: str, data: st.DataObject
) -> None:
    content = bytearray(SEEDS[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _load(load, suffix, bytes(content[: data.draw(st.integers(0, len(content)))]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(st.sampled_from(sorted(SLOW)), st.binary(max_size=300))
def test_any_bytes_are_a_sheet_or_refused(
    load: Callable[..., tuple[list[Section], list[str]]], suffix: str, content: bytes
) -> None:
    _load(load, suffix, content)


def _load(load: Callable[..., tuple[list[Section], list[str]]], suffix: str, content: bytes) -> None:
    with contextlib.suppress(UnreadableFile):
        for section in load("file" if suffix == "." else f"a{suffix}", content)[0]:
            section.text.encode()
            json.dumps(section.metadata, allow_nan=False).encode()
