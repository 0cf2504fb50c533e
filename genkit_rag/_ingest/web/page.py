"""The content of a page: its documents, its links, and its declarations."""

from __future__ import annotations

import mimetypes
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from genkit_rag._documents.document import Document
from genkit_rag._ingest.loaders import Loaders
from genkit_rag._ingest.section import Section, UnreadableFile
from genkit_rag._net.fetch import Fetched

_HTML = ("text/html", "application/xhtml+xml")
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
}
_VAGUE = ("text/plain", "application/octet-stream", "")
"""Types that say less than the suffix of the URL."""
_CHARSET = re.compile(r"""(<meta[^>]+charset=["']?)([\w-]+)""", re.IGNORECASE)
_HEAD = 4096
_RECENT_SECONDS = 60.0
_NO_INDEX = frozenset(("noindex", "none"))
_NO_FOLLOW = frozenset(("nofollow", "none"))


@dataclass(slots=True)
class Page:
    """A page as it was read.

    Attributes:
        links: Absolute URLs, in order.
        canonical: The URL that it says is its own.
        language: As declared.
        noindex: Whether it asks to be left out.
        nofollow: Whether it asks not to follow its links.
    """

    links: list[str] = field(default_factory=list[str])
    canonical: str | None = None
    language: str | None = None
    noindex: bool = False
    nofollow: bool = False


def is_html(fetched: Fetched) -> bool:
    """Return whether a response is a web page."""
    return fetched.content_type in _HTML


def read_page(fetched: Fetched, robot: str) -> Page:
    """Parse links and declarations of a response; only those of the headers if it is not HTML."""
    page = Page(language=fetched.headers.get("content-language", "").partition(",")[0].strip() or None)
    _obey(page, _directives(fetched.headers.get("x-robots-tag", ""), robot))
    if not is_html(fetched):
        return page
    from selectolax.lexbor import LexborHTMLParser

    tree: Any = LexborHTMLParser(_text(fetched))
    base = fetched.url
    for node in tree.css("base[href]")[:1]:
        base = _joined(base, node.attributes.get("href")) or base
    root = tree.css_first("html[lang]")
    page.language = (root.attributes.get("lang") if root is not None else None) or page.language
    for node in tree.css("meta[name][content]"):
        if (node.attributes["name"] or "").strip().lower() in ("robots", robot.lower()):
            _obey(page, set(re.split(r"[\s,]+", (node.attributes["content"] or "").lower())))
    for node in tree.css("link[rel][href]"):
        if "canonical" in _words(node, "rel"):
            page.canonical = page.canonical or _joined(base, node.attributes.get("href"))
    for node in tree.css("a[href], area[href]"):
        link = _joined(base, node.attributes.get("href"))
        if link is not None and "nofollow" not in _words(node, "rel"):
            page.links.append(link)
    return page


def documents_of(
    fetched: Fetched, name: str, page: Page, loaders: Loaders, note: Callable[[str], None], changed: str = ""
) -> list[Document]:
    """Load the documents of a response; UnreadableFile, or any error of the loader.

    Args:
        fetched: The response.
        name: The name of the source.
        page: Its parsed links and declarations.
        loaders: The loaders.
        note: Takes a sentence about left-out content.
        changed: The time of its last change, according to a sitemap.
    """
    suffix = suffix_of(fetched, loaders)
    facts: dict[str, Any] = {"language": page.language, "last_modified": last_modified(fetched) or changed or None}
    facts = {key: value for key, value in facts.items() if value} | {"source": name}
    with tempfile.TemporaryDirectory(prefix="genkit-rag-") as folder:
        path = Path(folder, f"page{suffix}")
        path.write_bytes(_bytes(fetched))
        return [
            Document(section.text, {**section.metadata, **facts, **_kind(section)})
            for section in loaders.load(path, note)
        ]


def _kind(section: Section) -> dict[str, str]:
    """Return the content type that tells the splitter the structure of the text."""
    if section.markdown:
        return {"content_type": "text/markdown"}
    return {"content_type": f"text/x-{section.language}"} if section.language else {}


def suffix_of(fetched: Fetched, loaders: Loaders) -> str:
    """Return the suffix of the loader for a response; UnreadableFile if there is none."""
    at = Path(urlsplit(fetched.url).path).suffix.lower()
    known = fetched.content_type
    if known in _VAGUE:
        if len(at) > 1 and loaders.find(Path(f"page{at}")) is not None:
            return at
        if known != "text/plain":
            raise UnreadableFile(f"its content type is {known or 'not given'}")
        return ".txt"
    suffix = _SUFFIXES.get(known) or mimetypes.guess_extension(known) or ""
    if not suffix or loaders.find(Path(f"page{suffix}")) is None:
        if known.startswith("text/") and loaders.find(Path(f"page{at}")) is not None and len(at) > 1:
            return at
        raise UnreadableFile(f"no loader for {known}")
    return suffix


def last_modified(fetched: Fetched) -> str:
    """Return the last modification as ISO 8601; empty if the server only sends the present time."""
    then = _date(fetched.headers.get("last-modified"))
    now = _date(fetched.headers.get("date"))
    if then is None or (now is not None and (now - then).total_seconds() < _RECENT_SECONDS):
        return ""
    return then.isoformat().replace("+00:00", "Z")


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _bytes(fetched: Fetched) -> bytes:
    """Return the body as a file with its declared encoding in the bytes."""
    if not fetched.charset or not (fetched.content_type.startswith("text/") or is_html(fetched)):
        return fetched.body
    try:
        text = fetched.body.decode(fetched.charset)
    except (LookupError, UnicodeDecodeError):
        return fetched.body
    if is_html(fetched):
        text = _CHARSET.sub(r"\1utf-8", text[:_HEAD]) + text[_HEAD:]
    return text.encode("utf-8", "replace")


def _text(fetched: Fetched) -> str:
    declared = _CHARSET.search(fetched.body[:_HEAD].decode("latin-1"))
    for charset in (fetched.charset, declared[2] if declared else None):
        if charset:
            try:
                return fetched.body.decode(charset)
            except (LookupError, UnicodeDecodeError):
                continue
    return fetched.body.decode("utf-8", "replace")


def _joined(base: str, href: str | None) -> str | None:
    try:
        return urljoin(base, (href or "").strip())
    except ValueError:
        return None


def _words(node: Any, attribute: str) -> list[str]:
    text: str = node.attributes.get(attribute) or ""
    return text.lower().split()


def _directives(header: str, robot: str) -> set[str]:
    """Return the directives of `X-Robots-Tag` for all robots and for ours; `name: a, b` is for one robot."""
    found: set[str] = set()
    audience = ""
    for part in header.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            audience, part = name.strip(), rest
        if audience in ("", "robots", robot.lower()):
            found.add(part.strip())
    return found


def _obey(page: Page, directives: set[str]) -> None:
    page.noindex = page.noindex or not directives.isdisjoint(_NO_INDEX)
    page.nofollow = page.nofollow or not directives.isdisjoint(_NO_FOLLOW)
