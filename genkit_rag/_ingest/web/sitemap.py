"""Reads sitemaps: https://www.sitemaps.org/protocol.html."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from typing import Any

from defusedxml import DefusedXmlException  # type: ignore[import-untyped, unused-ignore]
from defusedxml import ElementTree as Xml

from genkit_rag._ingest.section import UnreadableFile
from genkit_rag._net.transport import Gunzip

MAX_BYTES = 50 * 1024 * 1024
MAX_ENTRIES = 50_000
_MAX_DEPTH = 8
_GZIP = b"\x1f\x8b"


@dataclass(slots=True)
class Sitemap:
    """URLs of pages with the time of their last change (empty where it is not said), and of further sitemaps."""

    pages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    sitemaps: list[str] = field(default_factory=list[str])


def read_sitemap(body: bytes) -> Sitemap | None:
    """Parse a sitemap or sitemap index, also compressed; None for other XML, UnreadableFile for damaged data."""
    if body.startswith(_GZIP):
        body = _unpacked(body)
    try:
        return _parsed(body)
    except DefusedXmlException as error:
        raise UnreadableFile("a sitemap with a document type or entities is not read") from error
    except (SyntaxError, ValueError, LookupError) as error:
        raise UnreadableFile(f"it is no well-formed XML: {error}") from error


def _parsed(body: bytes) -> Sitemap | None:
    sitemap = Sitemap()
    depth = 0
    entry: dict[str, str] = {}
    events: Any = Xml.iterparse(io.BytesIO(body), events=("start", "end"), forbid_dtd=True)
    for event, element in events:
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            depth += 1
            if depth == 1 and tag not in ("urlset", "sitemapindex"):
                return None
            if depth > _MAX_DEPTH:
                raise UnreadableFile("it is nested too deeply for a sitemap")
            continue
        depth -= 1
        if depth == 2 and tag in ("loc", "lastmod"):
            entry[tag] = (element.text or "").strip()
        elif depth == 1:
            if entry.get("loc") and tag == "sitemap":
                sitemap.sitemaps.append(entry["loc"])
            elif entry.get("loc"):
                sitemap.pages.append((entry["loc"], entry.get("lastmod", "")))
            entry = {}
            element.clear()
            if len(sitemap.pages) + len(sitemap.sitemaps) >= MAX_ENTRIES:
                break
    return sitemap


def _unpacked(body: bytes) -> bytes:
    unpacked = bytearray()
    try:
        for piece in Gunzip().pieces(body):
            unpacked += piece
            if len(unpacked) > MAX_BYTES:
                raise UnreadableFile(f"it unfolds into more than {MAX_BYTES:,} bytes")
    except zlib.error as error:
        raise UnreadableFile(f"it is no gzip: {error}") from error
    return bytes(unpacked)
