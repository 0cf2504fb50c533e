"""Remembers answers in a small SQLite file, so that a page that did not change costs a 304."""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.private_file import create_private
from genkit_rag._net.fetch import Fetched

_VERSION = 1
_KEPT = ("content-type", "content-language", "last-modified", "etag", "date", "x-robots-tag")
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS page (url TEXT PRIMARY KEY, content_type TEXT NOT NULL, charset TEXT, "
    "headers TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID"
)


class PageCache:
    """Answers by URL. Its methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Pages may be private: only the owner may read the file.
        create_private(path)
        with self._guarded():
            self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            with self._guarded():
                self._prepare()
        except GenkitError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # A cache may lose its last pages when the power fails, no more.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "trusted_schema = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            self._db.execute("DROP TABLE IF EXISTS page")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _guarded(self) -> Generator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"The page cache {self._path} cannot be used: {error}.",
                    hint="Delete that file: pages are then downloaded anew.",
                    cause=error,
                ) from error

    def get(self, url: str) -> Fetched | None:
        """Return the cached response for a URL."""
        with self._guarded():
            row = self._db.execute(
                "SELECT content_type, charset, headers, body FROM page WHERE url = ?", (url,)
            ).fetchone()
        if row is None:
            return None
        content_type, charset, headers, body = row
        return Fetched(url, 200, json.loads(headers), zlib.decompress(body), content_type, charset)

    def put(self, fetched: Fetched) -> None:
        """Remembers an answer, if the server will recognise it."""
        headers = {name: fetched.headers[name] for name in _KEPT if name in fetched.headers}
        if not validators(fetched):
            self.forget(fetched.url)
            return
        row = (fetched.url, fetched.content_type, fetched.charset, json.dumps(headers), zlib.compress(fetched.body, 6))
        with self._guarded():
            self._db.execute("INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?)", row)

    def forget(self, url: str) -> None:
        """Drop the cached response for a URL."""
        with self._guarded():
            self._db.execute("DELETE FROM page WHERE url = ?", (url,))

    def close(self) -> None:
        """Frees the file."""
        with self._guarded():
            self._db.close()


def validators(fetched: Fetched | None) -> dict[str, str]:
    """Return the headers of a conditional request."""
    if fetched is None:
        return {}
    pairs = (("if-none-match", "etag"), ("if-modified-since", "last-modified"))
    return {ask: fetched.headers[given] for ask, given in pairs if fetched.headers.get(given)}
