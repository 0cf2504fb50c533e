"""Metadata columns in a segment, so that the first filter after an opening does not read every row.

`seg/<name>.cols`: a header, preceded by its length, has for each field the position of its codes (int32) and its
distinct values (JSON). A field is decoded when a filter first uses it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genkit_rag_faiss._index.segments import DamagedSegment, segment_name
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._storage.database import Segment
from genkit_rag_faiss._storage.digest import data_digest
from genkit_rag_faiss._storage.files import write_atomically

COLUMNS = "cols"
_LENGTH = struct.Struct("<Q")


class SavedColumn(NamedTuple):
    """One field: a code for each row, and the value of each code; code 0 means that the field is missing."""

    codes: NDArray[np.int32]
    values: list[Any]


def write_columns(directory: Path, view: View, columns: Mapping[str, SavedColumn]) -> Segment:
    """Write the columns of a view and return their manifest entry."""
    places: dict[str, tuple[int, int, int]] = {}
    blobs: list[bytes] = []
    at = 0
    for field, column in columns.items():
        codes, values = column.codes.astype("<i4").tobytes(), json.dumps(column.values[1:]).encode()
        places[field] = (at, len(codes), len(values))
        at += len(codes) + len(values)
        blobs += [codes, values]
    header = json.dumps(places).encode()

    def write(file: BinaryIO) -> None:
        file.write(_LENGTH.pack(len(header)) + header)
        for blob in blobs:
            file.write(blob)

    name = segment_name(view, COLUMNS)
    digest = write_atomically(directory / "seg" / name, write, tmp=directory / "tmp")
    return Segment(name, COLUMNS, digest, {"rows": view.n})


class SavedColumns:
    """The columns of a segment, read at the first question. Raises `DamagedSegment` unless every byte is right."""

    def __init__(self, directory: Path, segment: Segment) -> None:
        self._path = directory / "seg" / segment.name
        self._segment = segment
        self._data: bytes | None = None
        self._places: dict[str, tuple[int, int, int]] = {}

    @property
    def rows(self) -> int:
        """How many rows they cover."""
        return int(self._segment.params["rows"])

    def fields(self) -> list[str]:
        """Return the names of the saved fields."""
        self._read()
        return list(self._places)

    def get(self, field: str, missing: Any) -> SavedColumn | None:
        """Return the column of a field, with `missing` for code 0; None if it is not saved."""
        data = self._read()
        if field not in self._places:
            return None
        at, codes_size, values_size = self._places[field]
        start = _LENGTH.size + _LENGTH.unpack_from(data)[0] + at
        codes = np.frombuffer(data, "<i4", codes_size // 4, start).astype(np.int32)
        values = json.loads(data[start + codes_size : start + codes_size + values_size])
        return SavedColumn(codes, [missing, *values])

    def _read(self) -> bytes:
        if self._data is None:
            try:
                data = self._path.read_bytes()
            except OSError as error:
                raise DamagedSegment(f"{self._path.name}: {error}") from error
            if data_digest(memoryview(data)) != self._segment.digest:
                raise DamagedSegment(f"{self._path.name} does not match its checksum")
            try:
                size = _LENGTH.unpack_from(data)[0]
                self._places = {k: tuple(v) for k, v in json.loads(data[_LENGTH.size : _LENGTH.size + size]).items()}
            except (struct.error, ValueError, TypeError, AttributeError) as error:  # a checksum is easily forged
                raise DamagedSegment(f"{self._path.name}: {error}") from error
            self._data = data
        return self._data
