"""URLs: one spelling for one page, and which of them are wanted."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from genkit_rag._core.errors import GenkitError
from genkit_rag._net.policy import FetchPolicy, check_url

_NO_TEXT = ("image/", "audio/", "video/", "font/")
_NO_PAGES = frozenset(
    (
        "zip",
        "tar",
        "gz",
        "tgz",
        "bz2",
        "xz",
        "7z",
        "rar",
        "zst",
        "whl",
        "jar",
        "war",
        "deb",
        "rpm",
        "exe",
        "msi",
        "dmg",
        "pkg",
        "iso",
        "img",
        "apk",
        "bin",
        "so",
        "dll",
        "css",
        "js",
        "mjs",
        "map",
        "wasm",
        "woff",
        "woff2",
        "ttf",
        "eot",
        "ico",
        "torrent",
        "asc",
        "sig",
        "sha256",
    )
)


def normal_url(url: str, policy: FetchPolicy) -> str:
    """Returns the URL by which a page is known: host in lower case, no default port, no fragment, with its query."""
    checked = check_url(url.strip().partition("#")[0], policy)
    return str(checked if checked.path else checked.copy_with(path="/"))


def link_url(url: str, policy: FetchPolicy) -> str | None:
    """Returns the normal form of a link; None for one that is not to be fetched."""
    try:
        return normal_url(url, policy)
    except GenkitError:
        return None


def site_of(url: str) -> str:
    """Returns the host without `www.`, and the port where it is not the usual one."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    return host if parts.port in (None, 80, 443) else f"{host}:{parts.port}"


def origin_of(url: str) -> str:
    """Returns scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def matches_any(url: str, patterns: Iterable[str]) -> bool:
    """Returns whether a pattern matches the URL, or its path and query when the pattern begins with a slash."""
    path = url[len(origin_of(url)) :] or "/"
    return any(fnmatchcase(path if pattern.startswith("/") else url, pattern) for pattern in patterns)


def may_be_text(url: str) -> bool:
    """Returns whether a link's suffix lets one expect text; saves requests for images and downloads."""
    path = urlsplit(url).path
    kind = mimetypes.guess_type(path, strict=False)[0] or ""
    name = path.rpartition("/")[2].lower()
    return not kind.startswith(_NO_TEXT) and (
        name.endswith(".xml.gz") or "." not in name or name.rpartition(".")[2] not in _NO_PAGES
    )
