"""Files inside of files: each goes to its loader through a temporary file with a name of ours."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from genkit_rag._core.errors import GenkitError
from genkit_rag._ingest.loaders.guard import Budget, storable
from genkit_rag._ingest.section import LoadContext, Loader, LoadLimits, Section, UnreadableFile

_SUFFIX = re.compile(r"\.[A-Za-z0-9_+-]{1,16}\Z")
_EXAMPLES = 3
CONTAINERS = frozenset((".eml", ".mbox", ".zip", ".tar", ".gz", ".tgz"))
"""The suffixes of containers."""


def _no_loader(_: Path) -> Loader | None:
    return None


@dataclass(frozen=True, slots=True)
class MemberContext(LoadContext):
    """The context of a loader for containers: loaders of members and the remaining budget.

    Attributes:
        find: Returns the loader for a file, or None.
        budget: The shared budget of a file and everything inside of it.
        depth: The number of enclosing containers.
    """

    find: Callable[[Path], Loader | None] = _no_loader
    budget: Budget = field(default_factory=lambda: Budget.of(0, LoadLimits()))
    depth: int = 0

    @classmethod
    def around(cls, context: LoadContext, find: Callable[[Path], Loader | None], size: int) -> MemberContext:
        """Create the context of an outermost file."""
        return cls(context.limits, context.note, context.text_field, find, Budget.of(size, context.limits))


def member_context(context: LoadContext, path: Path) -> MemberContext:
    """Return the context of a container; one created elsewhere has no loaders."""
    if isinstance(context, MemberContext):
        return context
    return MemberContext.around(context, _no_loader, path.stat().st_size)


class Members:
    """Loads the members of one container, and counts those left out.

    Args:
        context: The context of the container.
        label: The metadata field with the member's name: `member` or `attachment`.
    """

    def __init__(self, context: MemberContext, label: str) -> None:
        self._context = context
        self._label = label
        self._left_out: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def load(self, name: str, blocks: Iterable[bytes]) -> Iterator[Section]:
        """Yield the sections of a member; its bytes are read only if a loader exists.

        Args:
            name: Its name in the container, which selects the loader and is never used as a path on disk.
            blocks: Its bytes, already counted against the budget.
        """
        self._context.budget.enter()
        suffix = _SUFFIX.search(PurePosixPath(name).name)
        # For `.tar.gz` keep the inner suffix: it selects the loader of the unpacked file.
        inner = _SUFFIX.search(name[: suffix.start()]) if suffix and suffix[0].lower() == ".gz" else None
        file = f"member{inner[0] if inner else ''}{suffix[0] if suffix else ''}"
        loader = self._context.find(Path(file))
        if loader is None:
            self.leave_out(name, "of a kind without a loader")
            return
        try:
            with tempfile.TemporaryDirectory(prefix="genkit-rag-") as folder:
                path = Path(folder) / file
                self._write(path, blocks)
                for section in loader(path, self._child(name)):
                    yield self._labelled(section, name, nested=path.suffix.lower() in CONTAINERS)
        except MemoryError:
            raise
        except Exception as error:
            # One member's trouble, unless it is everybody's: the budget is spent, or the disk fails.
            disk = isinstance(error, OSError) and error.errno is not None
            if disk or self._context.budget.is_spent:
                raise
            self.leave_out(name, reason_of(error))

    def leave_out(self, name: str, reason: str) -> None:
        """Count a member that is not loaded."""
        self._left_out[reason] += 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{storable(name[:200])!r}")

    def close(self) -> None:
        """Note the members left out."""
        for reason, count in self._left_out.items():
            more = ", ..." if count > _EXAMPLES else ""
            self._context.note(f"{count} left out: {', '.join(self._examples[reason])}{more}: {reason}")

    def _write(self, path: Path, blocks: Iterable[bytes]) -> None:
        limit = self._context.limits.max_file_bytes
        written = 0
        with path.open("xb") as file:
            for block in blocks:
                written += len(block)
                if written > limit:
                    raise UnreadableFile(f"more than max_file_bytes={limit:,}")
                file.write(block)

    def _child(self, name: str) -> MemberContext:
        def note(text: str) -> None:
            self._context.note(f"{storable(name[:200])!r}: {text}")

        return replace(self._context, note=note, depth=self._context.depth + 1)

    def _labelled(self, section: Section, name: str, *, nested: bool) -> Section:
        metadata = dict(section.metadata)
        within = metadata.pop(self._label, None)
        if within is not None and not nested:  # a column of that name
            metadata[f"{self._label}_"] = within
            within = None
        metadata[self._label] = storable(name) if within is None else f"{storable(name)}/{within}"
        return replace(section, metadata=metadata, key=f"{name}\0{section.key}" if section.key else "")


def reason_of(error: Exception) -> str:
    """Format an error as a reason for the report."""
    if isinstance(error, UnreadableFile | ImportError | GenkitError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def check_depth(context: MemberContext) -> None:
    """Raise UnreadableFile for a container nested too deeply."""
    if context.depth > context.limits.max_depth:
        raise UnreadableFile(f"within more than max_depth={context.limits.max_depth} others")
