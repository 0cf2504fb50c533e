"""Finds files below paths and globs, and says which of the known sources belong there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from genkit_rag._core.errors import GenkitError, invalid

SKIPPED_FOLDERS = frozenset(("node_modules", "__pycache__", "site-packages"))
"""Folders that hold other people's files; everything whose name begins with a dot is skipped as well."""

_STORE_MARKS = frozenset(("FORMAT", "store.db"))
"""The marks of a folder with a vector store, whose files are copies of ingested content."""

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its path, its name as a source, its size and its modification time."""

    path: Path
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern below a folder: `*`, `?` and `[...]` within a name, `**` for any folders."""

    folder: Path
    names: tuple[str, ...]

    @classmethod
    def parse(cls, path: Path) -> Glob:
        """Parse a pattern and split it at its first wildcard."""
        fixed = next(number for number, part in enumerate(path.parts) if _MAGIC.intersection(part))
        return cls(Path(*path.parts[:fixed]), path.parts[fixed:])

    @property
    def depth(self) -> float:
        """How many levels below the folder a file can lie."""
        return float("inf") if "**" in self.names else len(self.names)

    def accepts(self, path: str) -> bool:
        """Return whether a file's path matches."""
        folder = str(self.folder)
        return _is_below(path, folder) and _match(os.path.relpath(path, folder).split(os.sep), self.names)


@dataclass(slots=True)
class Roots:
    """Validated paths and globs to ingest. Names of sources below `base` are relative to it.

    Symbolic links within a folder are not followed: a target inside of it is found by itself, and one outside was not
    requested. A link that is named itself is followed.
    """

    base: Path
    files: list[Path] = field(default_factory=list[Path])
    folders: list[Path] = field(default_factory=list[Path])
    globs: list[Glob] = field(default_factory=list["Glob"])
    unlisted: list[str] = field(default_factory=list[str])
    """Folders that could not be listed: what lies below is unknown, so nothing there counts as removed."""
    excluded: tuple[Path, ...] = ()
    """Folders that are always left out, such as the one with the manifest."""
    skipped: list[str] = field(default_factory=list[str])
    """Names of the folders that were left out because they hold a store, or are excluded."""

    @classmethod
    def parse(cls, paths: str | Path | Iterable[str | Path], base: Path, excluded: Iterable[Path] = ()) -> Roots:
        """Parse the roots; NOT_FOUND for a path that does not exist."""
        base = base.absolute()
        roots = cls(base, excluded=tuple(folder.resolve() for folder in excluded))
        for raw in [paths] if isinstance(paths, str | Path) else paths:
            text = os.fspath(raw)
            if not text or "\0" in text:
                raise invalid("paths", raw, "must be a path")
            path = _absolute(base, text)
            if path.is_dir():
                roots.folders.append(path)
            elif os.path.lexists(path):
                roots.files.append(path)
            elif _MAGIC.intersection(text):
                roots.globs.append(Glob.parse(path))
            else:
                raise GenkitError(
                    "NOT_FOUND",
                    f"`paths`: there is no {text!r}.",
                    hint=f"Relative paths start at {base}.",
                    details={"argument": "paths", "path": text},
                )
        return roots

    def files_found(self, problem: Callable[[str, str], None]) -> Iterator[Found]:
        """Yield regular files, folder by folder in the order of their names; report others to `problem`."""
        for path in self.files:
            found = self._found(path, problem)
            if found is not None:
                yield found
        for folder in self.folders:
            yield from self._walk(folder, problem)
        for pattern in self.globs:
            yield from self._walk(pattern.folder, problem, pattern)

    def name(self, path: str | Path) -> str:
        """Return the source name of a path."""
        text = os.path.relpath(path, self.base) if Path(path).is_relative_to(self.base) else os.fspath(path)
        return os.fsencode(text).decode("utf-8", "replace").replace(os.sep, "/")

    def is_removed(self, name: str) -> bool:
        """Return whether a known source that was not found lies within the roots, and so was removed."""
        path = os.path.join(self.base, name)
        if any(_is_below(path, folder) for folder in self.unlisted):
            return False
        if any(_is_below(path, str(folder)) for folder in self.folders):
            return True
        return any(pattern.accepts(path) for pattern in self.globs)

    def _walk(self, root: Path, problem: Callable[[str, str], None], pattern: Glob | None = None) -> Iterator[Found]:
        inside = root.resolve()
        pending = [(str(root), 1)]
        while pending:
            folder, depth = pending.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.unlisted.append(folder)
                problem(self.name(folder), f"cannot be listed: {error.strerror}")
                continue
            if self._is_left_out(folder, entries):
                continue
            inner: list[tuple[str, int]] = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED_FOLDERS and (pattern is None or depth < pattern.depth):
                        inner.append((entry.path, depth + 1))
                elif pattern is not None and not pattern.accepts(entry.path):
                    continue
                elif entry.is_symlink():
                    end = Path(os.path.realpath(entry.path))  # `Path.resolve` raises for a loop of links
                    if not (end.is_relative_to(inside) and os.path.exists(entry.path)):
                        problem(self.name(entry.path), "a symbolic link out of the folder, or a broken one")
                else:
                    found = self._found(entry, problem)
                    if found is not None:
                        yield found
            pending += reversed(inner)

    def _is_left_out(self, folder: str, entries: list[os.DirEntry[str]]) -> bool:
        is_store = _STORE_MARKS.issubset(entry.name for entry in entries)
        if not is_store and not (self.excluded and Path(folder).resolve() in self.excluded):
            return False
        name = self.name(folder)
        if name not in self.skipped:  # the files are walked through twice, the first time to count them
            self.skipped.append(name)
        return True

    def _found(self, item: Path | os.DirEntry[str], problem: Callable[[str, str], None]) -> Found | None:
        name = self.name(item.path if isinstance(item, os.DirEntry) else item)
        try:
            status = item.stat()
        except OSError as error:
            problem(name, f"cannot be read: {error.strerror}")
            return None
        if not stat.S_ISREG(status.st_mode):
            problem(name, "not a regular file")
            return None
        return Found(Path(item), name, status.st_size, status.st_mtime_ns)


def _absolute(base: Path, text: str) -> Path:
    """Return the path from the base without `..`, with links unresolved."""
    return Path(os.path.normpath(base / os.path.expanduser(text)))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _match(parts: Sequence[str], names: Sequence[str]) -> bool:
    if not names:
        return not parts
    if names[0] == "**":
        return any(_match(parts[skip:], names[1:] or ("*",)) for skip in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], names[0]) and _match(parts[1:], names[1:])
