"""Segments: files that save reading every row again. Each is written once, checksummed in the manifest, disposable.

`seg/<last seq>-<hash>.vec`: a header of 64 bytes, then n sequence numbers (int64) and n x d vectors (float32), all
little endian. The rows of a sequence number never change, so equal sequence numbers mean equal files.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._database import Segment
from genkit_rag_faiss._files import write_atomically
from genkit_rag_faiss._view import Ints, View, aligned

VECTORS = "vec"
_HEADER = struct.Struct("<8sIIQ40x")
_MAGIC = b"GKRAGVEC"
_VERSION = 1
_CHUNK = 1 << 24


class DamagedSegment(Exception):
    """A segment that is missing or not what the manifest says; its text says which and why."""


def segment_name(view: View, suffix: str) -> str:
    """Returns the file name for the rows of a view."""
    digest = hashlib.blake2b(view.seqs.tobytes(), digest_size=4).hexdigest()
    return f"{int(view.seqs[-1]) if view.n else 0:012d}-{digest}.{suffix}"


def write_vectors(directory: Path, view: View) -> Segment:
    """Returns the manifest entry of the rows of a view, dead ones included, after writing them."""
    name = segment_name(view, VECTORS)

    def write(file: BinaryIO) -> None:
        file.write(_HEADER.pack(_MAGIC, _VERSION, view.matrix.shape[1], view.n))
        file.write(_bytes(np.ascontiguousarray(view.seqs, dtype="<i8")))
        file.write(_bytes(np.ascontiguousarray(view.matrix, dtype="<f4")))

    digest = write_atomically(directory / "seg" / name, write, tmp=directory / "tmp")
    return Segment(name, VECTORS, digest, {"rows": view.n})


def read_vectors(directory: Path, segment: Segment, dimensions: int) -> tuple[Ints, Vectors]:
    """Returns sequence numbers and vectors of a segment; raises `DamagedSegment` unless every byte is right."""
    path = directory / "seg" / segment.name
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER.size)
            magic, version, width, n = _HEADER.unpack(header)
            size = _HEADER.size + n * (8 + 4 * width)
            if (magic, version, width) != (_MAGIC, _VERSION, dimensions) or path.stat().st_size != size:
                raise DamagedSegment(f"{path.name} has another header or length")
            seqs, matrix = np.empty(n, "<i8"), aligned(n, width)
            digest = hashlib.blake2b(header, digest_size=32)
            for array in (seqs, matrix):
                _read_into(file, _bytes(array), digest)
    except (OSError, struct.error) as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    if digest.hexdigest() != segment.digest:
        raise DamagedSegment(f"{path.name} does not match its checksum")
    return seqs, matrix


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")


def _read_into(file: BinaryIO, target: memoryview, digest: hashlib.blake2b) -> None:  # pyright: ignore[reportPrivateUsage]
    for at in range(0, len(target), _CHUNK):
        part = target[at : at + _CHUNK]
        if file.readinto(part) != len(part):  # type: ignore[attr-defined]
            raise DamagedSegment("it is too short")
        digest.update(part)


def remove_strangers(directory: Path, known: set[str]) -> None:
    """Removes the files of `seg/` that the manifest does not name: left by a crash, or replaced."""
    with contextlib.suppress(OSError):  # they are in nobody's way; the next time will do
        for path in (directory / "seg").iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
