"""Folders of `.prompt` files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from genkit_rag._core.errors import GenkitError, invalid

MAX_FILES = 10_000
"""The maximum number of files in a prompt folder."""

MAX_FILE_BYTES = 1_000_000
"""The maximum size of a prompt file."""

SUFFIX = ".prompt"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A file of a prompt folder.

    Attributes:
        key: `folder/name` or `folder/name.variant`.
        where: The path within the folder.
        is_partial: Whether the file name begins with an underscore; the key does not contain it.
        text: The content; None for a file that could not be read.
        error: The error of a file that could not be read.
        root: The prompt folder; None for a source without a file.
    """

    key: str
    where: str
    is_partial: bool
    text: str | None = None
    error: GenkitError | None = None
    root: Path | None = None

    def read(self) -> str:
        """Return the text; raises the error of a file that could not be read."""
        if self.error is not None:
            raise self.error
        return self.text or ""


def read_folder(root: Path) -> list[PromptFile]:
    """Read all prompt files of a folder and its subfolders; an unreadable file raises when it is used.

    Hidden files and folders are skipped; nothing outside of the folder is read, not even through links.

    Raises:
        GenkitError: INVALID_ARGUMENT when `root` is not a folder, RESOURCE_EXHAUSTED for too many files.
    """
    if not root.is_dir():
        raise invalid("prompt_dir", str(root), "must be an existing folder", hint="Create it, or omit `prompt_dir`.")
    root = root.resolve()
    found: list[PromptFile] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.endswith(SUFFIX) or name.startswith("."):
                continue
            if len(found) >= MAX_FILES:
                raise GenkitError("RESOURCE_EXHAUSTED", f"`{root}` contains more than {MAX_FILES:,} prompt files.")
            found.append(_read(root, Path(folder) / name))
    return found


def _read(root: Path, path: Path) -> PromptFile:
    where = path.relative_to(root).as_posix()
    folder, slash, name = where.removesuffix(SUFFIX).rpartition("/")
    is_partial = name.startswith("_")
    key = f"{folder}{slash}{name[1:] if is_partial else name}"
    try:
        check_key(key)
        return PromptFile(key, where, is_partial, text=_text(root, path, where), root=root)
    except GenkitError as error:
        return PromptFile(key, where, is_partial, error=error)
    except OSError as error:
        problem = GenkitError(
            "INVALID_ARGUMENT",
            f"{where}: the file cannot be read: {error.strerror or error}.",
            details={"source": where},
            cause=error,
        )
        return PromptFile(key, where, is_partial, error=problem)


def _text(root: Path, path: Path, where: str) -> str:
    if not path.resolve(strict=True).is_relative_to(root):
        raise GenkitError(
            "PERMISSION_DENIED",
            f"{where}: the file is a link to a place outside of the prompt folder.",
            hint="Move the file itself into the folder.",
            details={"source": where},
        )
    if not path.is_file():
        raise GenkitError("INVALID_ARGUMENT", f"{where}: not a regular file.", details={"source": where})
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise GenkitError(
            "INVALID_ARGUMENT", f"{where}: the file has more than {MAX_FILE_BYTES:,} bytes.", details={"source": where}
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"{where}, line {line}: the file is not UTF-8.",
            hint="Save it as UTF-8.",
            details={"source": where, "line": line},
        ) from error


def prompt_key(name: str, variant: str | None) -> str:
    """Return `name` or `name.variant`; raises INVALID_ARGUMENT for an invalid name."""
    return check_key(name if variant is None else f"{name}.{variant}")


def check_key(key: str) -> str:
    """Validate and return a key; paths that leave a folder are invalid."""
    steps = key.split("/")
    bad = any(not step.strip(".") or step.startswith(".") or step.endswith(".") for step in steps)
    if bad or any(ord(char) < 33 or char in '\\:<>"|?*%' or char == "\x7f" for char in key):
        raise invalid("name", key, "must be a prompt name", hint="For example `greeting` or `mail/reply`.")
    return key
