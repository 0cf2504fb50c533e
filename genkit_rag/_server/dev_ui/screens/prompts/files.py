"""The `.prompt` files of the app: read and written below the folder that it names, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._generation.prompt.files import MAX_FILE_BYTES, SUFFIX, check_key

MAX_NAME = 200
"""Characters of a file's path within the folder."""

_STEP = re.compile(r"\w[\w.-]{0,99}")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PromptPlace:
    """Where a prompt's file is.

    Attributes:
        folder: The prompt folder, without links.
        path: The file within it, with `/`.
    """

    folder: Path
    path: str

    @property
    def file(self) -> Path:
        """The file; PERMISSION_DENIED if the path contains a symbolic link."""
        found = self.folder
        for step in self.path.split("/"):
            found = found / step
            if found.is_symlink():
                raise GenkitError(
                    "PERMISSION_DENIED",
                    f"{self.path!r} leads over a symbolic link.",
                    hint="Put the file itself into the prompt folder.",
                )
        return found

    def read(self) -> tuple[str, str] | None:
        """Read the text and its version; None if the file does not exist."""
        try:
            with _open(self.file) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        if len(data) > MAX_FILE_BYTES:
            raise GenkitError("RESOURCE_EXHAUSTED", f"{self.path!r} is larger than {MAX_FILE_BYTES:,} bytes.")
        return data.decode("utf-8-sig", "replace"), _version(data)

    def write(self, text: str, expected: str | None) -> str:
        """Write the file atomically and return its new version.

        Args:
            text: The new content.
            expected: The version that was read; None for a new file.

        Raises:
            GenkitError: ABORTED if the file has changed since, ALREADY_EXISTS for a new one that exists.
        """
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MAX_FILE_BYTES:
            raise GenkitError("RESOURCE_EXHAUSTED", f"A prompt file has at most {MAX_FILE_BYTES:,} bytes.")
        there = self.read()
        if expected is None and there is not None:
            raise GenkitError("ALREADY_EXISTS", f"{self.path!r} exists.", hint="Choose another name.")
        if expected is not None and (there is None or there[1] != expected):
            raise GenkitError("ABORTED", f"{self.path!r} was changed by somebody else.", hint="Load the page again.")
        target = self.file
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.file, data)  # the way is looked at once more, with the folders that are there now
        return _version(data)


def place_of(metadata: Mapping[str, Any], root: Path) -> PromptPlace | None:
    """Return the place of a prompt's file from the app's metadata; None if it is not inside the project."""
    prompt: Any = metadata.get("prompt")
    named: Any = prompt.get("file") if isinstance(prompt, Mapping) else None
    if not isinstance(named, Mapping):
        return None
    given = cast("Mapping[str, Any]", named)
    folder, path = given.get("folder"), given.get("path")
    if not isinstance(folder, str) or not isinstance(path, str) or "\0" in folder:
        return None
    try:
        whole = (root / folder).resolve()
        is_inside = whole.is_relative_to(root.resolve()) and whole.is_dir()
        return PromptPlace(whole, checked_path(path)) if is_inside else None
    except (OSError, GenkitError):
        return None


def checked_path(path: object) -> str:
    """Validate the relative path of a prompt file; INVALID_ARGUMENT if it leaves the folder or is not portable."""
    if not isinstance(path, str) or not path.endswith(SUFFIX) or len(path) > MAX_NAME:
        raise invalid("path", path, f"must end with {SUFFIX} and have at most {MAX_NAME} characters")
    check_key(path.removesuffix(SUFFIX))
    for step in path.split("/"):
        if not _STEP.fullmatch(step) or _DEVICE.fullmatch(step):
            raise invalid(
                "path",
                path,
                "has a name that is none on every system",
                hint="Use letters, digits, `_`, `-` and dots, such as `mail/reply.short`.",
            )
    return path


def _open(path: Path) -> Any:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        if path.is_symlink():
            raise GenkitError("PERMISSION_DENIED", f"{path.name!r} is a symbolic link.") from error
        raise


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _version(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
