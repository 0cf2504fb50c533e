"""HTML loader, based on selectolax: the visible content as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.loaders.nesting import bounded_nesting
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_UNSEEN = frozenset(
    (
        "head",
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "svg",
        "math",
        "iframe",
        "object",
        "canvas",
        "audio",
        "video",
        "select",
        "button",
        "dialog",
    )
)
_HIDDEN = "[hidden], [aria-hidden=true], [role=navigation], [role=search]"
_STYLED = "[style*=none i], [style*=hidden i]"
_AROUND = "aside, footer, [role=contentinfo], [role=complementary]"
_BLOCKS = frozenset(
    (
        "html",
        "body",
        "address",
        "article",
        "aside",
        "blockquote",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    )
)
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_CHARSET = re.compile(rb"""<meta[^>]+charset=["']?([\w-]+)""", re.IGNORECASE)


def load_html(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the visible text as Markdown with headings, lists, tables and code.

    Of a page with one `<main>`, or else one `<article>`, only that is taken; of others, menus, asides and footers are
    left out.
    """
    if path.stat().st_size > context.limits.max_tree_bytes:
        raise UnreadableFile(f"more than max_tree_bytes={context.limits.max_tree_bytes:,}")
    title, text = html_to_markdown(_decode(path, context))
    yield Section(text, {"title": title} if title else {}, markdown=True)


def html_to_markdown(page: str) -> tuple[str, str]:
    """Return the title of a page and its visible content as Markdown."""
    require_extra("html", "selectolax")
    from selectolax.lexbor import LexborHTMLParser

    tree: Any = LexborHTMLParser(bounded_nesting(page))
    found = tree.css_first("title")
    title = _SPACE.sub(" ", found.text()).strip() if found is not None else ""
    body = tree.body
    if body is None:
        return title, ""
    hidden = _hidden(tree)
    content = _main(tree, hidden)
    if content is not None:
        text = _Writer(hidden).write(content)
    else:
        text = _Writer(hidden | {node.mem_id for node in body.css(_AROUND)}).write(body)
    return title, text or _Writer(hidden).write(body)


def _hidden(tree: Any) -> set[int]:
    hidden = {node.mem_id for node in tree.css(_HIDDEN)}
    for node in tree.css(_STYLED):
        if _HIDDEN_STYLE.search(node.attributes.get("style") or ""):
            hidden.add(node.mem_id)
    return hidden


def _main(tree: Any, hidden: set[int]) -> Any:
    """Return the element with the page's main content, or None."""
    for selector in ("main, [role=main]", "article"):
        marked = [node for node in tree.css(selector) if node.mem_id not in hidden]
        if len(marked) == 1:
            return marked[0]
    return None


def _decode(path: Path, context: LoadContext) -> str:
    """Decode the page by its declared encoding, as browsers do, otherwise like a text file."""
    from genkit_rag._ingest.loaders.encoding import open_text

    with path.open("rb") as file:
        declared = _CHARSET.search(file.read(4096))
    if declared and declared[1].lower() not in (b"utf-8", b"utf8"):
        try:
            return path.read_text(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            context.note(f"not in the encoding that it declares ({declared[1].decode('ascii')})")
    with open_text(path, context) as text:
        return text.read()


class _Writer:
    """Walks a tree without recursion (depth is the page's choice) and writes Markdown."""

    def __init__(self, hidden: set[int]) -> None:
        self.hidden = hidden
        self.lines: list[str] = []
        self.line: list[str] = []
        self.prefix = ""
        self.depth = 0  # of lists
        self.preformatted = 0
        self.cells: list[str] | None = None
        self.header_due = False

    def write(self, root: Any) -> str:
        node = root
        above: list[Any] = []
        while True:
            child = node.child if self.enter(node) else None
            if child is not None:
                above.append(node)
                node = child
                continue
            following = node.next if above else None
            while following is None and above:
                node = above.pop()
                self.leave(node)
                following = node.next if above else None
            if following is None:
                break
            node = following
        self.flush()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip()

    def enter(self, node: Any) -> bool:
        """Write the markup before a node's children; return whether to visit them."""
        tag = node.tag
        if tag == "-text":
            self.add(node.text_content or "")
            return False
        if tag in _UNSEEN or tag[0] in "-!" or (self.hidden and node.mem_id in self.hidden):
            return False
        if tag == "br":
            self.add("\n" if self.preformatted or self.cells is None else " ", raw=self.cells is None)
        elif tag in ("td", "th"):
            self.cell()
        elif tag in _BLOCKS:
            if self.cells is None:
                self.open_block(tag)
            else:
                self.add(" ")
        return True

    def open_block(self, tag: str) -> None:
        self.flush()
        if tag in _HEADINGS:
            self.lines.append("")
            self.prefix = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self.depth += 1
        elif tag == "li":
            self.prefix = "  " * max(self.depth - 1, 0) + "- "
        elif tag == "pre":
            self.lines += ["", "```"]
            self.preformatted += 1
        elif tag == "table":
            self.lines.append("")
            self.header_due = True
        elif tag == "tr":
            self.cells = []
        elif tag != "summary":
            self.lines.append("")

    def leave(self, node: Any) -> None:
        """Write the markup after a node's children."""
        tag = node.tag
        if tag == "tr" and self.cells is not None:
            self.close_row()
        elif tag not in _BLOCKS:
            return
        elif self.cells is not None:
            self.add(" ")
        elif tag == "pre":
            self.flush()
            self.preformatted -= 1
            self.lines += ["```", ""]
        else:
            self.flush()
            if tag in ("ul", "ol"):
                self.depth -= 1
            if tag not in ("li", "ul", "ol", "summary", "tr", "tbody", "thead", "tfoot") or not self.depth:
                self.lines += [] if tag in ("li", "tr", "tbody", "thead", "tfoot") else [""]

    def cell(self) -> None:
        if self.cells is not None:
            self.cells.append("".join(self.line))
            self.line = []

    def close_row(self) -> None:
        assert self.cells is not None
        self.cell()
        cells = [_SPACE.sub(" ", cell).strip().replace("|", "\\|") for cell in self.cells[1:]]
        self.cells = None
        if any(cells):
            self.lines.append(f"| {' | '.join(cells)} |")
            if self.header_due:
                self.lines.append("|" + " --- |" * len(cells))
                self.header_due = False

    def add(self, text: str, *, raw: bool = False) -> None:
        self.line.append(text if raw or self.preformatted else _SPACE.sub(" ", text))

    def flush(self) -> None:
        if not self.line:
            return
        text = "".join(self.line)
        self.line = []
        if self.preformatted:
            self.lines += text.strip("\n").split("\n") if text.strip() else []
            return
        kept = [line.strip() for line in re.sub(r" {2,}", " ", text).split("\n")]
        kept = [line for line in kept if line]
        if kept:
            self.lines.append(self.prefix + (" ".join(kept) if self.prefix else "\n".join(kept)))
            self.prefix = ""
