"""Segments: files that save reading every row again. Each is written once, checksummed in the manifest, disposable.

`seg/<name>.vec` holds the vectors of n rows, n x d float32 and nothing else. `seg/<name>.keys` holds what else is in
memory of them: a header, sequence numbers (int64), codes of namespaces (int32), names (uint32), which are
alive (uint8), then the namespaces as JSON and the ids, separated by NUL. All numbers are little endian.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from genkit_rag.plugin_api import Vectors
from genkit_rag_faiss._index.arrays import aligned
from genkit_rag_faiss._index.view import SavedKeys, View
from genkit_rag_faiss._storage.database import Segment
from genkit_rag_faiss._storage.digest import BLOCK, block_digest, data_digest, each_block, whole_digest
from genkit_rag_faiss._storage.files import write_atomically

VECTORS, KEYS = "vec", "keys"
_KEYS_HEADER = struct.Struct("<8sIQQQq")
_KEYS_MAGIC = b"GKRAGKEY"
_VERSION = 2


class DamagedSegment(Exception):
    """A segment that is missing or differs from the manifest; the message names it and the reason."""


def segment_name(view: View, suffix: str) -> str:
    """Return the file name for the rows of a view."""
    digest = hashlib.blake2b(view.seqs.tobytes(), digest_size=4).hexdigest()
    return f"{int(view.seqs[-1]) if view.n else 0:012d}-{digest}.{suffix}"


def write_vectors(directory: Path, view: View) -> Segment:
    """Write the vectors of a view, with those of dead rows, and return their manifest entry."""
    name = segment_name(view, VECTORS)

    def write(file: BinaryIO) -> None:
        file.write(_bytes(np.ascontiguousarray(view.matrix, dtype="<f4")))

    digest = write_atomically(directory / "seg" / name, write, tmp=directory / "tmp")
    return Segment(name, VECTORS, digest, {"rows": view.n})


def write_keys(directory: Path, view: View, digest: int) -> Segment:
    """Write the keys of a view and return their manifest entry.

    Args:
        directory: The store's.
        view: The newest view.
        digest: The sum of the key checksums of its living rows.
    """
    name = segment_name(view, KEYS)
    namespaces = json.dumps(sorted(view.codes, key=view.codes.__getitem__)).encode()
    ids = "\0".join(view.ids[: view.n]).encode()

    def write(file: BinaryIO) -> None:
        file.write(_KEYS_HEADER.pack(_KEYS_MAGIC, _VERSION, view.n, len(namespaces), len(ids), digest))
        for array, kind in ((view.seqs, "<i8"), (view.spaces, "<i4"), (view.crcs, "<u4"), (view.alive, "u1")):
            file.write(_bytes(np.ascontiguousarray(array, dtype=kind)))
        file.write(namespaces)
        file.write(ids)

    checksum = write_atomically(directory / "seg" / name, write, tmp=directory / "tmp")
    return Segment(name, KEYS, checksum, {"rows": view.n, "last": int(view.seqs[-1]) if view.n else 0})


def read_vectors(directory: Path, segment: Segment, dimensions: int) -> Vectors:
    """Read the vectors of a segment; raise `DamagedSegment` unless every byte matches its checksum."""
    path = directory / "seg" / segment.name
    rows = int(segment.params["rows"])
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    if size != 4 * rows * dimensions:
        raise DamagedSegment(f"{path.name} has another length")
    matrix = aligned(rows, dimensions)
    target = _bytes(matrix)

    def block(at: int) -> bytes:
        part = target[at : at + BLOCK]
        with open(path, "rb", buffering=0) as file:
            file.seek(at)
            if _fill(file, part) != len(part):
                raise DamagedSegment(f"{path.name} is too short")
        return block_digest(part)

    try:
        digest = whole_digest(each_block(len(target), block))
    except OSError as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    if digest != segment.digest:
        raise DamagedSegment(f"{path.name} does not match its checksum")
    return matrix


def read_keys(directory: Path, segment: Segment) -> SavedKeys:
    """Read the keys of a segment; raise `DamagedSegment` unless every byte matches its checksum."""
    path = directory / "seg" / segment.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    if data_digest(memoryview(data)) != segment.digest:
        raise DamagedSegment(f"{path.name} does not match its checksum")
    try:
        return _parse_keys(data)
    except (struct.error, ValueError, OverflowError, MemoryError) as error:  # a checksum is easily forged
        raise DamagedSegment(f"{path.name}: {error}") from error


def _parse_keys(data: bytes) -> SavedKeys:
    _, _, n, spaces_size, ids_size, digest = _KEYS_HEADER.unpack_from(data)
    at = _KEYS_HEADER.size
    arrays: list[NDArray[Any]] = []
    for kind in ("<i8", "<i4", "<u4", "u1"):
        arrays.append(np.frombuffer(data, kind, n, at))
        at += arrays[-1].nbytes
    seqs, spaces, crcs, alive = arrays
    namespaces = json.loads(data[at : at + spaces_size])
    at += spaces_size
    ids = data[at : at + ids_size].decode().split("\0") if n else []
    return SavedKeys(
        seqs.astype(np.int64),
        spaces.astype(np.int32),
        alive.astype(np.bool_),
        crcs.astype(np.uint32),
        ids,
        namespaces,
        digest,
    )


def _fill(file: FileIO, target: bytearray | memoryview) -> int:
    """Read into the target and return the number of bytes; a single read may stop early."""
    view, done = memoryview(target), 0
    while done < len(view) and (count := file.readinto(view[done:])):
        done += count
    return done


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")


def remove_strangers(directory: Path, known: set[str]) -> None:
    """Remove the files of `seg/` that are not in the manifest: leftovers of a crash, or replaced ones."""
    with contextlib.suppress(OSError):  # they are in nobody's way; the next time will do
        for path in (directory / "seg").iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
