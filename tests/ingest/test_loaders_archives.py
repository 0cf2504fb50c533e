from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.ingest import LoadContext, Loaders, LoadLimits, Section, UnreadableFile

from .conftest import Corpus
from .office import make_docx, make_tar, make_zip
from .pdf import make_pdf

Load = Callable[..., tuple[list[Section], list[str]]]


@pytest.fixture(autouse=True)
def no_temporary_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def members(sections: list[Section]) -> list[tuple[str, str]]:
    return [(section.metadata["member"], section.text) for section in sections]


def test_every_member_that_has_a_loader_is_read(load: Load) -> None:
    archive = make_zip(
        {
            "docs/a.md": "# A",
            "docs/b.pdf": make_pdf(["one", "two"], "B"),
            "rows.csv": "id,n\n7,x\n",
            "c.bin": b"\0",
            "d.bin": b"\0",
            "word.docx": make_docx(),
            ".hidden/e.txt": "no",
            "__MACOSX/f.txt": "no",
            "README": "hi",
        }
    )
    sections, notes = load("a.zip", archive)
    assert members(sections)[:4] == [
        ("docs/a.md", "# A"),
        ("docs/b.pdf", "one"),
        ("docs/b.pdf", "two"),
        ("rows.csv", "id: 7\nn: x"),
    ]
    assert [section.metadata["member"] for section in sections[4:]] == ["word.docx", "README"]
    assert sections[1].metadata == {"title": "B", "page": 1, "member": "docs/b.pdf"}
    assert sections[3].row_id == "7"
    assert notes == ["2 left out: 'c.bin', 'd.bin': of a kind without a loader"]


def test_rows_with_one_id_in_two_members_are_told_apart(load: Load) -> None:
    sections, _ = load("a.zip", make_zip({"a.csv": "id,n\n7,x\n", "b.csv": "id,n\n7,x\n"}))
    assert len({section.key for section in sections}) == 2


def test_archives_within_archives_are_read_to_a_depth(load: Load) -> None:
    inner = make_zip({"deep.txt": "deep"})
    for level in range(6):
        inner = make_zip({f"{level}.zip": inner, f"{level}.txt": str(level)})
    sections, notes = load("a.zip", inner)
    assert members(sections)[0] == ("5.zip/4.zip/3.zip/2.zip/1.txt", "1")
    assert len(sections) == 5
    assert "within more than max_depth=4 others" in notes[0]
    shallow, _ = load("b.zip", inner, Loaders(LoadLimits(max_depth=0)))
    assert members(shallow) == [("5.txt", "5")]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_tar_archives_are_read_compressed_or_not(load: Load, name: str) -> None:
    archive = make_tar({"a/one.txt": b"one", "a/two.bin": b"\0", "three.txt": b"three"})
    sections, notes = load(name, archive if name.endswith(".tar") else gzip.compress(archive))
    assert members(sections) == [("a/one.txt", "one"), ("three.txt", "three")]
    assert len(notes) == 1
    assert "'a/two.bin': of a kind without a loader" in notes[0]


def test_a_gzip_file_is_what_its_name_says_inside(load: Load) -> None:
    sections, notes = load("log.md.gz", gzip.compress(b"# Log"))
    assert members(sections) == [("log.md", "# Log")]
    assert sections[0].markdown
    assert notes == []


@pytest.mark.parametrize(
    "name", ["../up.txt", "a/../../up.txt", "/etc/up.txt", "C:/up.txt", "..\\up.txt", "a\\b.txt", "\\\\host\\up.txt"]
)
def test_a_name_that_leads_elsewhere_is_left_out(load: Load, name: str) -> None:
    for archive, kind in (
        (make_zip({name: "evil", "b.txt": "fine"}), "zip"),
        (make_tar({name: b"evil", "b.txt": b"fine"}), "tar"),
    ):
        sections, notes = load(f"a.{kind}", archive)
        assert members(sections) == [("b.txt", "fine")]
        assert "1 left out" in notes[0]


def test_links_in_archives_are_left_out(load: Load, tmp_path: Path) -> None:
    canary = tmp_path / "canary.txt"
    canary.write_text("canary")
    link = zipfile.ZipInfo("link.txt")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, str(canary))
    entries: dict[str, tarfile.TarInfo | bytes] = {}
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)):
        entry = tarfile.TarInfo(f"{number}.txt")
        entry.type, entry.linkname = kind, str(canary)
        entries[entry.name] = entry
    for name, content in (("a.zip", buffer.getvalue()), ("a.tar", make_tar(entries))):
        sections, notes = load(name, content)
        assert sections == []
        assert "a link" in notes[0]


def test_protected_repeated_and_damaged_members_are_left_out(load: Load) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("a.txt", "first"), ("A.txt", "second"), ("b.txt", "secret"), ("c.txt", "damaged")):
            archive.writestr(name, text)
    content = bytearray(buffer.getvalue().replace(b"A.txt", b"a.txt"))
    content[content.index(b"damaged")] ^= 1
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = -1
        for _ in range(3):
            place = content.index(mark, place + 1)
        content[place + offset] |= 1  # "encrypted", for b.txt
    sections, notes = load("a.zip", bytes(content))
    assert members(sections) == [("a.txt", "first")]
    assert notes == [
        "1 left out: 'a.txt': a name that came before",
        "1 left out: 'b.txt': protected by a password",
        "1 left out: 'c.txt': damaged (Bad CRC-32 for file 'c.txt')",
    ]


def test_a_loader_that_fails_costs_its_member_only(load: Load) -> None:
    def fail(path: Path, context: LoadContext) -> Iterator[Section]:
        yield Section("before")
        raise RuntimeError("oh")

    loaders = Loaders()
    loaders.register(".bad", fail)
    before = loaders.settings(Path("a.zip"))
    sections, notes = load("a.zip", make_zip({"a.bad": "", "b.pdf": "no", "c.txt": "fine"}), loaders)
    assert members(sections) == [("a.bad", "before"), ("c.txt", "fine")]
    assert notes[0] == "1 left out: 'a.bad': RuntimeError: oh"
    assert "damaged or not a PDF" in notes[1]
    loaders.register(".bad", fail, version="9")
    assert loaders.settings(Path("a.zip")) != before  # what an archive gives depends on every loader
    assert loaders.settings(Path("a.txt")) == Loaders().settings(Path("a.txt"))


@pytest.mark.parametrize(
    ("name", "head"), [("a.zip", b"PK\3\4"), ("a.tar", b"no"), ("a.gz", b"\x1f\x8b"), ("a.tgz", b"")]
)
def test_what_is_no_archive_is_refused(load: Load, name: str, head: bytes) -> None:
    loaders = Loaders()
    if name.endswith("gz"):  # the file inside cannot be read: it is left out
        sections, notes = load(name, head + b"garbage", loaders)
        assert sections == []
        assert notes
        return
    with pytest.raises(UnreadableFile, match="damaged or not"):
        load(name, head + b"garbage", loaders)


def test_a_member_that_is_not_read_to_the_end_leaves_nothing_behind(
    tmp_path: Path, no_temporary_file_stays: Path
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"a.csv": "n\n1\n2\n3\n"}))
    rows = Loaders().load(path)
    next(rows)
    assert len(os.listdir(no_temporary_file_stays)) == 1
    rows.close()  # type: ignore[attr-defined]


names = st.text(st.sampled_from("ab./\\:\0é \ud800"), max_size=8).map(lambda name: f"{name}.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.dictionaries(names, st.text(max_size=20), max_size=5))
def test_whatever_members_are_called_only_their_texts_come_out(load: Load, texts: dict[str, str]) -> None:
    usable = {name: text.encode("utf-8", "replace") for name, text in texts.items() if "\ud800" not in name}
    sections, _ = load("a.tar", make_tar(dict(usable)))
    assert {section.text.encode() for section in sections} <= set(usable.values())
    assert not any(".." in section.metadata["member"].split("/") for section in sections)


def test_a_column_named_like_the_label_moves_aside(load: Load) -> None:
    inner = make_zip({"a.csv": "member,n\nAda,1\n"})
    section = load("a.zip", make_zip({"inner.zip": inner}))[0][0]
    assert section.metadata == {"member": "inner.zip/a.csv", "member_": "Ada", "n": "1"}


async def test_members_are_ingested_and_kept_in_step_like_files(corpus: Corpus) -> None:
    page = "# Same\n\nThe same text twice."
    corpus.write("a.zip", make_zip({"a.md": page, "b.md": page, "c.csv": "id,n\n7,x\n", "d.csv": "id,n\n7,x\n"}))
    report = await corpus.ingest()
    assert report.ok
    members = sorted(document.metadata["member"] for document in corpus.sink.documents.values())
    assert members == ["a.md", "b.md", "c.csv", "d.csv"]
    corpus.write("a.zip", make_zip({"a.md": page, "c.csv": "id,n\n7,x\n8,y\n"}))
    corpus.sink.embedded.clear()
    await corpus.ingest()
    assert corpus.sink.embedded == ["id: 8\nn: y"]
    assert len(corpus.sink.documents) == 3
