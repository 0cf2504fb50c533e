from __future__ import annotations

import json
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genkit_rag.ingest import Loaders, LoadLimits, Section, UnreadableFile

from .office import make_docx, make_zip
from .pdf import make_pdf

Load = Callable[..., tuple[list[Section], list[str]]]


def mail(subject: str = "Prices", body: str = "Five euros.\n") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Ada <ada@example.org>"
    message["To"] = "bob@example.org"
    message["Date"] = "Wed, 01 May 2030 12:30:00 +0200"
    message["Message-ID"] = "<1@example.org>"
    message.set_content(body)
    return message


FACTS = {
    "title": "Prices",
    "from": "Ada <ada@example.org>",
    "to": "bob@example.org",
    "message_id": "<1@example.org>",
    "date": "2030-05-01T12:30:00+02:00",
}


def test_a_message_stands_under_its_subject(load: Load) -> None:
    message = mail()
    message.add_alternative("<p>in <b>HTML</b></p>", subtype="html")
    sections, notes = load("a.eml", message.as_bytes())
    assert [(s.text, s.metadata, s.markdown) for s in sections] == [("# Prices\n\nFive euros.\n", FACTS, True)]
    assert notes == []


def test_a_message_in_html_alone_is_read_as_pages_are(load: Load) -> None:
    message = mail()
    message.set_content("<h2>Hi</h2><p>text</p><script>no</script>", subtype="html")
    assert load("a.eml", message.as_bytes())[0][0].text == "# Prices\n\n## Hi\n\ntext"


def test_attachments_are_read_by_their_loaders(load: Load) -> None:
    message = mail()
    message.add_attachment(make_pdf(["page"]), maintype="application", subtype="pdf", filename="../a.pdf")
    message.add_attachment("id,n\n7,x\n", subtype="csv", filename="rows.csv")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="a.png")
    message.add_attachment(mail("Inner", "within"))
    message.add_attachment(make_zip({"a.txt": "zipped"}), maintype="application", subtype="zip", filename="z.zip")
    sections, notes = load("a.eml", message.as_bytes())
    assert [(s.metadata.get("attachment"), s.text) for s in sections] == [
        (None, "# Prices\n\nFive euros.\n"),
        (".._a.pdf", "page"),
        ("rows.csv", "id: 7\nn: x"),
        ("attachment-4.eml", "# Inner\n\nwithin\n"),
        ("z.zip", "zipped"),
    ]
    assert sections[1].metadata == {**FACTS, "page": 1, "attachment": ".._a.pdf"}
    assert sections[3].metadata["title"] == "Inner"
    assert sections[4].metadata["member"] == "a.txt"
    assert notes == ["1 left out: 'a.png': of a kind without a loader"]


@pytest.mark.parametrize(
    ("charset", "body"),
    [("us-ascii", "Grüße".encode()), ("nonsense", "Grüße".encode("cp1252")), ("", "Grüße".encode())],
)
def test_a_wrong_charset_does_not_damage_a_message(load: Load, charset: str, body: bytes) -> None:
    kind = f"text/plain; charset={charset}" if charset else "text/plain"
    content = f"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: {kind}\r\n\r\n".encode() + body
    section = load("a.eml", content)[0][0]
    assert section.text == "# Grüße\n\nGrüße"


def test_headers_that_are_no_headers_do_no_harm(load: Load) -> None:
    content = b"From: (((((\r\nDate: never\r\nSubject: \xff\xfe\r\nTo: " + b"a@b, " * 50_000 + b"\r\n\r\nbody"
    section = load("a.eml", content)[0][0]
    assert section.text.endswith("body")
    assert "date" not in section.metadata
    json.dumps(section.metadata).encode()


def test_a_mailbox_gives_its_messages_one_by_one(load: Load) -> None:
    second = mail("Other", "x" * 500)
    second.replace_header("Message-ID", "<2@example.org>")
    box = b"".join(b"From ada Wed May  1 12:30:00 2030\n" + m.as_bytes() + b"\n" for m in (mail(), second, mail()))
    sections, notes = load("a.mbox", box)
    assert [section.metadata["title"] for section in sections] == ["Prices", "Other", "Prices"]
    assert sections[0].key == sections[2].key != sections[1].key  # the same message twice is one
    assert notes == []
    few, notes = load("b.mbox", box, Loaders(LoadLimits(max_tree_bytes=500)))
    assert [section.metadata["title"] for section in few] == ["Prices", "Prices"]
    assert notes == ["1 messages left out (message 2: a message of more than max_tree_bytes=500)"]
    with pytest.raises(UnreadableFile, match="not a mailbox"):
        load("c.mbox", b"nothing")


def test_a_list_of_objects_is_rows(load: Load) -> None:
    rows = [{"id": 1, "text": 'a "} quoted \\ {'}, {"id": 2, "text": "b", "deep": {"x": [1]}}, {"id": 3}]
    sections, notes = load("a.json", json.dumps(rows, indent=1))
    assert [(section.text, section.row_id) for section in sections] == [('a "} quoted \\ {', "1"), ("b", "2")]
    assert notes[0].startswith("1 of 3 rows left out (line 3: no text in")
    assert load("b.json", '[{"say": "x"}]', Loaders(text_field="say"))[0][0].text == "x"


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", '[{"a": 1}]', "", "[", "not JSON", "[" * 100_000])
def test_other_json_is_text(load: Load, content: str) -> None:
    sections, _ = load("a.json", content)
    assert [section.text for section in sections] == [content]


def test_a_list_that_breaks_off_gives_what_stands_before(load: Load) -> None:
    sections, notes = load("a.json", '[{"text": "a"}, {"text": "b"}, {"text": "c')
    assert [section.text for section in sections] == ["a", "b"]
    assert "1 of 3 rows left out" in notes[0]


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=5), value, max_size=3), min_size=1, max_size=5), st.booleans())
def test_a_list_and_the_same_lines_give_the_same_rows(load: Load, rows: list[dict[str, object]], ascii: bool) -> None:
    texts = [{**row, "text": f"row {number}"} for number, row in enumerate(rows)]
    listed, _ = load("a.json", json.dumps(texts, ensure_ascii=ascii).encode("utf-8", "replace"))
    lines, _ = load(
        "a.jsonl", "\n".join(json.dumps(row, ensure_ascii=ascii) for row in texts).encode("utf-8", "replace")
    )
    assert listed == lines


def test_a_notebook_gives_its_texts_and_its_code(load: Load) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Analysis\n", "of prices"]},
        {"cell_type": "code", "source": "x = '''```'''\n", "outputs": [{"text": "no"}]},
        {"cell_type": "code", "source": []},
    ]
    notebook = json.dumps({"cells": cells, "metadata": {"language_info": {"name": "julia"}}})
    (section,), _ = load("a.ipynb", notebook)
    assert section.text == "# Analysis\nof prices\n\n````julia\nx = '''```'''\n````"
    assert (section.metadata, section.markdown) == ({"title": "Analysis"}, True)
    for bad in ("", "[]", '{"cells": 5}', "[" * 100_000):
        with pytest.raises(UnreadableFile, match="damaged or not a notebook"):
            load("b.ipynb", bad)


def test_xml_gives_the_text_of_its_elements(load: Load) -> None:
    content = (
        "<?xml version='1.0' encoding='latin-1'?><a x='no'><b>Grüße <i>an</i> alle</b><b>two</b>\n <c>3 &lt; 4</c></a>"
    )
    sections, _ = load("a.xml", content.encode("latin-1"))
    assert sections[0].text == "Grüße an alle\ntwo\n3 < 4"
    with pytest.raises(UnreadableFile, match="damaged or not XML"):
        load("b.xml", "<a>")


@pytest.mark.parametrize(
    ("suffix", "language"),
    [
        (".py", "python"),
        (".TS", "typescript"),
        (".tsx", "tsx"),
        (".h", "c"),
        (".hpp", "cpp"),
        (".cs", "csharp"),
        (".sh", "bash"),
    ],
)
def test_source_code_says_its_language(load: Load, suffix: str, language: str) -> None:
    assert load(f"a{suffix}", "x")[0] == [Section("x", language=language)]


@pytest.mark.parametrize(
    ("content", "text", "markdown"),
    [
        (make_pdf(["page"]), "page", False),
        (b"\n<!DOCTYPE HTML><p>hi</p>", "hi", True),
        (b"plain", "plain", False),
        (make_docx(), "# The report", True),
    ],
)
def test_a_file_without_a_suffix_is_what_it_begins_with(load: Load, content: bytes, text: str, markdown: bool) -> None:
    section = load("report", content)[0][0]
    assert section.text.startswith(text)
    assert section.markdown == markdown
    with pytest.raises(UnreadableFile, match="binary"):
        load("other", make_zip({"a.txt": "x"}))


PAGE = "<header><h1>Site</h1></header><nav>menu</nav><aside>ads</aside>{}<footer>imprint</footer>"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<main><p>a</p><aside>note</aside><footer>by Ada</footer></main>", "a\n\nnote\n\nby Ada"),
        ("<div role=main>a</div>", "a"),
        ("<article>a</article>", "a"),
        ("<main hidden>x</main><main>a</main>", "a"),
        ("<article>a</article><article>b</article>", "# Site\n\na\n\nb"),
        ("<p>a</p>", "# Site\n\na"),
        ("<main></main>", "# Site\n\nads\n\nimprint"),
        ("<main>a<i hidden>x</i><b style='VISIBILITY:hidden'>y</b><i role=navigation>z</i></main>", "a"),
    ],
)
def test_of_a_page_its_content_is_taken(load: Load, content: str, text: str) -> None:
    assert load("a.html", PAGE.format(content))[0][0].text == text


def test_a_page_may_be_all_footer(load: Load) -> None:
    assert load("a.html", "<footer>all there is</footer>")[0][0].text == "all there is"


def test_scripts_full_of_angle_brackets_are_no_elements(load: Load) -> None:
    script = "<script>" + "for(;i<n;)x<y('<div>');" * 2000 + "</script>"
    assert load("a.html", f"<p>a</p>{script}<p>b</p>")[0][0].text == "a\n\nb"


SENTENCES = {
    "cp1252": [
        "Größe",
        "café",
        "L'été dernier, à côté",
        "Não há informação",
        "Räksmörgås på en ö",
        "It’s 5 € – “fine”",
    ],
    "cp1250": ["Příliš žluťoučký kůň úpěl ďábelské ódy", "Zażółć gęślą jaźń w Łodzi"],
    "cp1251": ["Привет, как дела сегодня?"],
    "shift_jis": ["こんにちは世界、今日はいい天気です"],
}


@pytest.mark.parametrize(("encoding", "text"), [(e, text) for e, texts in SENTENCES.items() for text in texts])
def test_a_few_words_in_an_older_encoding_are_understood(load: Load, encoding: str, text: str) -> None:
    sections, notes = load("a.txt", text.encode(encoding))
    assert sections[0].text == text
    assert "not UTF-8" in notes[0]


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"a.docx": make_docx(), "b.json": '[{"text": "x"}]', "c.eml": mail().as_bytes()}))
    assert list(Loaders().load(path)) == list(Loaders().load(path))
