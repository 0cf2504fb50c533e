"""What keeps a file from unfolding into more than the machine can hold, and from raising just anything."""

from __future__ import annotations

import codecs
import io
import math
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from genkit_rag._core.errors import GenkitError
from genkit_rag._ingest.section import LoadLimits, UnreadableFile

BLOCK = 256 * 1024
FREE_BYTES = 16 * 1024**2
"""Small files may have any compression ratio, for example a log of a repeated line."""

_MAX_INTEGER = 2**63
_HEADER_BYTES = 30
_DIRECTORY_BYTES = 256  # of a zip's directory for each entry; file names are mostly shorter
_ENCRYPTED = 0x1
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DOCUMENT_TYPES = tuple(
    mark.encode(encoding) for mark in ("<!DOCTYPE", "<!ENTITY") for encoding in ("ascii", "utf-16-le", "utf-16-be")
)
_BEFORE_XML = codecs.BOM_UTF8 + codecs.BOM_UTF16 + b"\0 \t\r\n"
_TAG_BYTES = 16  # shorter ones on average are no document, and cost the most memory a byte


class BeyondLimits(UnreadableFile):
    """A file that unfolds into more than it may; what contains it is given up as well."""


@dataclass(slots=True)
class Budget:
    """The remaining budget for unpacking a file and everything inside of it."""

    bytes: int
    entries: int
    limit: str

    @classmethod
    def of(cls, size: int, limits: LoadLimits) -> Budget:
        """Create the budget for a file of this size."""
        by_ratio = max(size * limits.max_ratio, FREE_BYTES)
        if by_ratio < limits.max_unpacked_bytes:
            return cls(by_ratio, limits.max_entries, f"max_ratio={limits.max_ratio}")
        return cls(limits.max_unpacked_bytes, limits.max_entries, f"max_unpacked_bytes={limits.max_unpacked_bytes:,}")

    @property
    def is_spent(self) -> bool:
        """Whether more came than it allows."""
        return min(self.bytes, self.entries) < 0

    def spend(self, count: int) -> None:
        """Spend bytes; BeyondLimits if none are left."""
        self.bytes -= count
        if self.bytes < 0:
            raise BeyondLimits(f"it unfolds into more than {self.limit} allows")

    def enter(self, count: int = 1) -> None:
        """Spend entries; BeyondLimits if none are left."""
        self.entries -= count
        if self.entries < 0:
            raise BeyondLimits("it holds more entries than its limits allow (max_entries, or tags by max_tree_bytes)")


@contextmanager
def readable(kind: str) -> Generator[None]:
    """Convert any error of a library to UnreadableFile with the expected kind of file."""
    try:
        yield
    except (UnreadableFile, GenkitError, ImportError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableFile(f"damaged or not {kind} (nested too deeply)") from error
    except OSError as error:
        if error.errno is not None:  # the disk's trouble, not the file's
            raise
        raise UnreadableFile(f"damaged or not {kind} ({error})") from error
    except Exception as error:
        raise UnreadableFile(f"damaged or not {kind} ({type(error).__name__}: {str(error)[:200]})") from error


class CappedFile(io.BufferedReader):
    """A file that rejects big reads: zipfile and tarfile read whole tables at sizes that the file declares."""

    def __init__(self, path: Path, cap: int) -> None:
        super().__init__(io.FileIO(path))
        self._cap = cap
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._size - self.tell() if size is None or size < 0 else size
        if wanted > self._cap:
            raise BeyondLimits("it holds more entries than max_entries allows")
        return super().read(size)


@contextmanager
def open_zip(path: Path, kind: str, limits: LoadLimits) -> Generator[zipfile.ZipFile]:
    """Open the archive after validating its directory: total size is bounded and entries do not overlap."""
    with CappedFile(path, max(limits.max_entries * _DIRECTORY_BYTES, BLOCK)) as file, readable(kind):
        if file.peek(8).startswith(_OLE):
            raise UnreadableFile("protected by a password, or in the format of before 2007: save it anew without")
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > limits.max_entries:
                raise BeyondLimits(f"{len(entries):,} entries, more than max_entries={limits.max_entries:,}")
            _check_overlap(entries)
            yield archive


def _check_overlap(entries: list[zipfile.ZipInfo]) -> None:
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise BeyondLimits("its entries overlap, as in a zip bomb")
        end = entry.header_offset + _HEADER_BYTES + entry.compress_size


def is_encrypted(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry needs a password."""
    return bool(entry.flag_bits & _ENCRYPTED)


def check_package(path: Path, kind: str, limits: LoadLimits, budget: Budget) -> None:
    """Check a whole office file before a library reads it.

    Raises UnreadableFile for more bytes, parts or tags than the limits allow, and for XML with a document type:
    Office Open XML forbids them (ISO/IEC 29500-2, 8.2.5), so entities can only be an attack.
    """
    trees = Budget(limits.max_tree_bytes, limits.max_tree_bytes // _TAG_BYTES, "max_tree_bytes")
    with open_zip(path, kind, limits) as archive:
        for entry in archive.infolist():
            if is_encrypted(entry):
                raise UnreadableFile("protected by a password: save a copy without it")
            budget.spend(entry.file_size)  # zipfile never gives more than is declared
            with archive.open(entry) as part:
                _check_part(part, entry.filename, trees)


def _check_part(part: IO[bytes], name: str, trees: Budget) -> None:
    """Check a part that is XML by its content, since its name is not reliable."""
    strict = name.lower().endswith((".xml", ".rels", ".vml"))
    kept = b""
    while block := part.read(BLOCK):
        if not kept and not block.lstrip(_BEFORE_XML).startswith(b"<"):
            return
        trees.spend(len(block))
        trees.enter(block.count(b"<"))
        block = kept + block  # with the end of the one before: nothing hides between two
        if strict and any(mark in block for mark in _DOCUMENT_TYPES):
            raise UnreadableFile("its XML declares a document type, which no office program writes")
        kept = block[-32:]


def iter_reads(stream: IO[bytes] | GzipFile, budget: Budget) -> Iterator[bytes]:
    """Yield the blocks of a stream and spend them from a budget."""
    while block := stream.read(BLOCK):
        budget.spend(len(block))
        yield block


def storable(value: Any) -> Any:
    """Convert a scalar to one that every store can hold: no lone surrogates, infinities or integers beyond 63 bits."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not value.isascii() else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) >= _MAX_INTEGER:
        return str(value)
    return value
