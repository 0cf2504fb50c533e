"""Files in one folder, by checked names: written whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from genkit_rag._core.errors import GenkitError, invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_DEVICES = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)


def checked_name(argument: str, name: object) -> str:
    """Return a name that is safe as a file name on every system; INVALID_ARGUMENT for others."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _DEVICES.fullmatch(name):
        raise invalid(
            argument,
            name,
            "must be 1 to 100 letters, digits, `_` and `-`, beginning with a letter or digit",
            hint="Such as `questions-2`.",
        )
    return name


def inside(root: Path, *names: str) -> Path:
    """Return a path below the root; PERMISSION_DENIED if a symbolic link leads outside."""
    path = root.joinpath(*names)
    if not path.resolve().is_relative_to(root.resolve()):
        raise GenkitError(
            "PERMISSION_DENIED", f"{'/'.join(names)!r} is a link that leads out of its folder.", hint="Remove it."
        )
    return path


def read_file(path: Path, limit: int) -> bytes | None:
    """Read a file; None if it does not exist, RESOURCE_EXHAUSTED if it is over the limit."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > limit:
        raise GenkitError("RESOURCE_EXHAUSTED", f"{path.name} is larger than {limit:,} bytes.")
    return data


def write_new(path: Path, data: bytes) -> bool:
    """Write a new file for its owner only; return False if it exists already."""
    temporary = _written(path.parent, data)
    try:
        os.link(temporary, path)  # unlike a rename, this fails when the name is taken
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync(path.parent)
    return True


def write_over(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    _written(path.parent, data).replace(path)
    _sync(path.parent)


def _written(folder: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _sync(folder: Path) -> None:
    if os.name == "posix":  # a name is lasting when its folder is written
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
