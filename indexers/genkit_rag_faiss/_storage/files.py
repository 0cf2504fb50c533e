"""Files that are there whole or not at all, the names of stores, and who may write."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from filelock import FileLock, Timeout

from genkit_rag.plugin_api import GenkitError, invalid
from genkit_rag_faiss._storage.digest import file_digest

FORMAT = 2
"""The layout that this code writes and reads."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}\Z")


def check_store_name(name: str) -> str:
    """Return a name that is safe as a folder name; INVALID_ARGUMENT for others."""
    if not _NAME.match(name):
        raise invalid(
            "name",
            name,
            "must be 1 to 64 of A-Z a-z 0-9 . _ - and not begin with a dot",
            hint="It becomes a folder's name; use a namespace for user-made names.",
        )
    return name


def make_directory(path: Path) -> None:
    """Create the store's directories durably with access for this user only."""
    try:
        missing = [folder for folder in path.absolute().parents if not folder.exists()]
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("seg", "text", "tmp"):
            (path / part).mkdir(mode=0o700, exist_ok=True)
        if not (path / "FORMAT").exists():
            for folder in (path.absolute(), *missing):
                with contextlib.suppress(PermissionError):  # a folder may be one to write to and not to read
                    sync_directory(folder.parent)
    except OSError as error:
        raise io_error(error, path) from error


def write_atomically(path: Path, write: Callable[[BinaryIO], None], *, tmp: Path) -> str:
    """Write a file atomically and durably, and return its checksum.

    Written to `tmp` first, synced, read back, renamed, and its folder synced: a crash leaves the old file or the new.
    """
    scratch = tmp / f"{path.name}.{os.getpid()}"
    try:
        with open(os.open(scratch, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        digest = file_digest(scratch)
        os.replace(scratch, path)
        sync_directory(path.parent)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise io_error(error, path) from error
    return digest


def sync_directory(path: Path) -> None:
    """Make renames and removals in a folder durable if the system supports it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def io_error(error: OSError, path: Path) -> GenkitError:
    """Convert an operating system's error, adding the path and a hint."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(path, error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return GenkitError(
            "PERMISSION_DENIED",
            f"`{path}` may not be written: {error.strerror}.",
            hint="Correct the permissions, choose another path, or open it with mode='r'.",
            cause=error,
        )
    return GenkitError(
        "UNAVAILABLE",
        f"`{path}` cannot be used: {error.strerror or error}.",
        hint="Check the disk and the limit of open files, then open the store again.",
        cause=error,
    )


def full(path: Path, error: BaseException) -> GenkitError:
    """Create the error for a full disk."""
    return GenkitError(
        "RESOURCE_EXHAUSTED",
        f"There is no space left for `{path}`.",
        hint="Free some space, then open the store again. Everything that was acknowledged is safe.",
        details={"path": str(path)},
        cause=error,
    )


def read_format(path: Path) -> bool:
    """Return whether the store was completely created; FAILED_PRECONDITION for a newer format."""
    try:
        raw: Any = json.loads((path / "FORMAT").read_bytes())
        needed = int(cast(Any, raw)["min_reader"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError, KeyError):
        return True  # a damaged note beside a database that says the same
    if needed != FORMAT:
        raise other_format(path, needed)
    return True


def other_format(path: Path, needed: int) -> GenkitError:
    """Create the error for a store of a newer or a pre-release version."""
    if needed < FORMAT:
        return GenkitError(
            "FAILED_PRECONDITION",
            f"`{path}` has the format {needed} of a preview; this version reads {FORMAT}.",
            hint="Index the documents again into a new store.",
            details={"format": needed, "supported": FORMAT},
        )
    return GenkitError(
        "FAILED_PRECONDITION",
        f"`{path}` has the format {needed}; this version reads up to {FORMAT}.",
        hint="Update: pip install -U genkit-rag.",
        details={"format": needed, "supported": FORMAT},
    )


def read_identity(path: Path) -> str | None:
    """Return the identity of the store in the directory; None if its note is missing or damaged."""
    try:
        name, crc = cast(Any, json.loads((path / "FORMAT").read_bytes()))["store"]
        return name if zlib.crc32(name.encode()) == crc else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_format(path: Path, identity: str | None) -> None:
    """Write the note with the directory's format; written last, when the store is complete."""
    store = None if identity is None else (identity, zlib.crc32(identity.encode()))
    note = json.dumps({"format": FORMAT, "min_reader": FORMAT, "store": store}).encode()
    write_atomically(path / "FORMAT", lambda file: cast(None, file.write(note)), tmp=path / "tmp")


def unwritten(database: Path) -> object:
    """Return a fingerprint of a database file; None if it does not exist or is open for writing."""
    try:
        found = database.stat()
    except OSError:
        return None
    log = database.with_name(f"{database.name}-wal")
    return None if log.exists() else (found.st_ino, found.st_size, found.st_mtime_ns)


class WriterLock:
    """The right to write to a store: one process at a time, freed by the system when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path / "LOCK", thread_local=False, mode=0o600)
        self.held = False

    def acquire(self, timeout: float) -> None:
        """Acquire the lock within `timeout` seconds; FAILED_PRECONDITION names its owner."""
        if self.held:
            return
        try:
            self._lock.acquire(timeout=timeout, poll_interval=0.02)
        except Timeout as error:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"Another writer has the store `{self._path}`: {self._owner()}.",
                hint="Write from one process only; others may read with mode='r'. Or wait with lock_timeout=seconds.",
                details={"path": str(self._path)},
            ) from error
        except OSError as error:
            raise io_error(error, self._path / "LOCK") from error
        self.held = True
        for stray in (self._path / "tmp").iterdir():  # left by a crash: only the holder of the lock writes there
            stray.unlink(missing_ok=True)
        note = self._path / "LOCK.owner"
        try:
            with open(os.open(note, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
                file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        except OSError:
            pass  # the note is for people; the lock itself is held

    def release(self) -> None:
        """Release the lock."""
        if self.held:
            self.held = False
            self._lock.release()

    def _owner(self) -> str:
        try:
            return (self._path / "LOCK.owner").read_text() or "unknown"
        except OSError:
            return "unknown"
