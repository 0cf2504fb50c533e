"""Folders of `.prompt` files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from genkit_rag._core.errors import GenkitError, invalid

MAX_FILES = 10_000
"""How many files a prompt folder may hold."""

MAX_FILE_BYTES = 1_000_000
"""How long a prompt file may be."""

SUFFIX = ".prompt"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A file of a prompt folder.

    Attributes:
        key: `folder/name` or `folder/name.variant`.
        where: Its path within the folder.
        is_partial: Whether its name begins with an underscore, which is not in the key.
        text: What is in it; None when it cannot be had.
        root: The prompt folder; None for a source that stands in no file.
        error: Why not.
    """

    key: str
    where: str
    is_partial: bool
    text: str | None = None
    error: GenkitError | None = None
    root: Path | None = None

    def read(self) -> str:
        """Returns the text; raises why it cannot be had."""
        if self.error is not None:
            raise self.error
        return self.text or ""


def read_folder(root: Path) -> list[PromptFile]:
    """Returns all prompt files in a folder and those below it; a file that cannot be had says so when it is used.

    Hidden files and folders are left out; nothing outside of the folder is read, links included.

    Raises:
        GenkitError: INVALID_ARGUMENT when it is no folder, RESOURCE_EXHAUSTED when it holds too many files.
    """
    if not root.is_dir():
        raise invalid("prompt_dir", str(root), "must be a folder", hint="Make it, or leave `prompt_dir` out.")
    root = root.resolve()
    found: list[PromptFile] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.endswith(SUFFIX) or name.startswith("."):
                continue
            if len(found) >= MAX_FILES:
                raise GenkitError("RESOURCE_EXHAUSTED", f"`{root}` holds more than {MAX_FILES:,} prompt files.")
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
            f"{where}: it cannot be read: {error.strerror or error}.",
            details={"source": where},
            cause=error,
        )
        return PromptFile(key, where, is_partial, error=problem)


def _text(root: Path, path: Path, where: str) -> str:
    if not path.resolve(strict=True).is_relative_to(root):
        raise GenkitError(
            "PERMISSION_DENIED",
            f"{where}: it is a link out of the prompt folder.",
            hint="Put the file itself into the folder.",
            details={"source": where},
        )
    if not path.is_file():
        raise GenkitError("INVALID_ARGUMENT", f"{where}: it is no file.", details={"source": where})
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise GenkitError(
            "INVALID_ARGUMENT", f"{where}: it has more than {MAX_FILE_BYTES:,} bytes.", details={"source": where}
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"{where}, line {line}: it is not UTF-8.",
            hint="Save it as UTF-8.",
            details={"source": where, "line": line},
        ) from error


def prompt_key(name: str, variant: str | None) -> str:
    """Returns `name` or `name.variant`; raises INVALID_ARGUMENT for what is no name."""
    return check_key(name if variant is None else f"{name}.{variant}")


def check_key(key: str) -> str:
    """Returns the key; raises INVALID_ARGUMENT for one that is no name: paths out of a folder among others."""
    steps = key.split("/")
    bad = any(not step.strip(".") or step.startswith(".") or step.endswith(".") for step in steps)
    if bad or any(ord(char) < 33 or char in '\\:<>"|?*%' or char == "\x7f" for char in key):
        raise invalid("name", key, "is no name of a prompt", hint="Names are such as `greeting` or `mail/reply`.")
    return key
