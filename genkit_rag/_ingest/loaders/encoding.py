"""Finds out how a text file is encoded, without holding it."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import IO

from genkit_rag._ingest.section import LoadContext, UnreadableFile

_BLOCK = 1 << 20
_SAMPLE = 256 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # UTF-32 before UTF-16: its little-endian mark begins with the other's


def open_text(path: Path, context: LoadContext) -> IO[str]:
    """Returns the file opened as text, line ends as they are; raises UnreadableFile for a binary one."""
    return path.open(encoding=_encoding(path, context), newline="")


def _encoding(path: Path, context: LoadContext) -> str:
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
        for mark, name in _MARKS:
            if sample.startswith(mark):
                return name if _decodes(file, sample, name) else _refuse(f"not valid {name.upper()}")
        if b"\0" in sample:
            _refuse("a binary file")
        if _decodes(file, sample, "utf-8"):
            return "utf-8"
    guess = _guess(sample)
    context.note(f"not UTF-8, read as {guess or 'latin-1'}")
    return guess or "latin-1"


def _decodes(file: IO[bytes], sample: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        block = sample
        while block:
            decoder.decode(block)
            block = file.read(_BLOCK)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str | None:
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return None
    best = from_bytes(sample).best()
    return best.encoding if best is not None else None


def _refuse(reason: str) -> str:
    raise UnreadableFile(reason)
