"""URL normalisation, and selection of links."""

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
    """Return the normal form of a URL: host in lower case, no default port, no fragment, with its query."""
    checked = check_url(url.strip().partition("#")[0], policy)
    return str(checked if checked.path else checked.copy_with(path="/"))


def link_url(url: str, policy: FetchPolicy) -> str | None:
    """Return the normal form of a link; None for one that cannot be fetched."""
    try:
        return normal_url(url, policy)
    except GenkitError:
        return None


def site_of(url: str) -> str:
    """Return the host without `www.`, and the port unless it is the default."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    return host if parts.port in (None, 80, 443) else f"{host}:{parts.port}"


def origin_of(url: str) -> str:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def matches_any(url: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern matches the URL, or its path and query if the pattern begins with a slash."""
    path = url[len(origin_of(url)) :] or "/"
    return any(fnmatchcase(path if pattern.startswith("/") else url, pattern) for pattern in patterns)


def may_be_text(url: str) -> bool:
    """Return whether a link's suffix suggests text, to save requests for images and downloads."""
    path = urlsplit(url).path
    kind = mimetypes.guess_type(path, strict=False)[0] or ""
    name = path.rpartition("/")[2].lower()
    return not kind.startswith(_NO_TEXT) and (
        name.endswith(".xml.gz") or "." not in name or name.rpartition(".")[2] not in _NO_PAGES
    )
