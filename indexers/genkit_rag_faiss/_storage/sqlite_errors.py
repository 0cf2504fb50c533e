"""SQLite's errors as ours."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from genkit_rag.plugin_api import GenkitError
from genkit_rag_faiss._storage.files import full
from genkit_rag_faiss._storage.records import damaged


def sqlite_error(error: sqlite3.Error, path: Path) -> GenkitError:
    """Convert an error of SQLite, adding the path and a hint."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL":
        return full(path, error)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or re.search("no such|decode", str(error)):
        return damaged(f"`{path}`: {error}")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return GenkitError(
            "PERMISSION_DENIED",
            f"`{path}` may not be written: {error}.",
            hint="Correct the permissions, or open the store with mode='r'.",
        )
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
        return GenkitError(
            "UNAVAILABLE",
            f"`{path}` cannot be used: {error} ({name or type(error).__name__}).",
            hint="Check the disk, then open the store again. Everything that was acknowledged is safe.",
        )
    return damaged(f"`{path}`: {error}")
