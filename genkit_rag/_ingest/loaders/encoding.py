"""Finds out how a text file is encoded, without holding it."""

from __future__ import annotations

import codecs
import re
import string
from pathlib import Path
from typing import IO

from genkit_rag._ingest.section import LoadContext, UnreadableFile

_BLOCK = 1 << 20
_SAMPLE = 256 * 1024
_LETTERS = string.ascii_letters.encode()
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # UTF-32 before UTF-16: its little-endian mark begins with the other's


_WESTERN = re.compile(
    "[\\x00-\\x7f\\xa0ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœ¡¿«»“”‘’‚„‹›–—…•·´°ºª€£§©®™½¼¾×±µ]*"
)
"""What western European texts are made of. The letters that are missing are, byte for byte, the frequent ones of
Polish, Czech, Turkish and Romanian in their own encodings."""
_FOREIGN = re.compile("[À-ÿŒœ]{3}|[A-Za-z][“”„][A-Za-z]")
"""Signs of a wrong encoding: words of accented letters only (Cyrillic, Greek, Chinese), quotes within words (DOS)."""
_HUNGARIAN = frozenset("õö")
"""In one text they are Hungarian in its own encoding."""
_MAX_ACCENTED = 0.5


def open_text(path: Path, context: LoadContext) -> IO[str]:
    """Open a file as text with its line ends; UnreadableFile for a binary one."""
    return path.open(encoding=_encoding(path, context), newline="")


def _encoding(path: Path, context: LoadContext) -> str:
    with path.open("rb") as file:
        sample = file.read(_BLOCK)
        for mark, name in _MARKS:
            if sample.startswith(mark):
                if _undecodable(file, name) is not None:
                    raise UnreadableFile(f"not valid {name.removesuffix('-sig').upper()}")
                return name
        if b"\0" in sample:
            raise UnreadableFile("a binary file")
        invalid = _undecodable(file, "utf-8")
        if invalid is None:
            return "utf-8"
        guess = _guess(invalid)
        if guess is None or _undecodable(file, guess) is not None:
            guess = "latin-1"  # decodes anything
    context.note(f"not UTF-8, read as {guess}")
    return guess


def _undecodable(file: IO[bytes], encoding: str) -> bytes | None:
    """Return the context of the first bytes that are invalid in the encoding; None if all are valid."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    block = b""
    try:
        while block := file.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return (block or error.object)[max(error.start - _SAMPLE // 2, 0) :][:_SAMPLE]
    return None


def decode(content: bytes, context: LoadContext) -> str:
    """Decode bytes by their byte order mark or like a text file; never fails."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content.decode(name, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        guess = _guess(content[max(error.start - _SAMPLE // 2, 0) :][:_SAMPLE])
    try:
        text = content.decode(guess or "latin-1")
    except UnicodeDecodeError:
        guess, text = None, content.decode("latin-1")
    context.note(f"not UTF-8, read as {guess or 'latin-1'}")
    return text


def _guess(sample: bytes) -> str | None:
    if _is_western(sample):
        return "cp1252"  # the detector below is at a loss with a few accents
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return None
    best = from_bytes(sample).best()
    # EBCDIC "decodes" anything too, but a file whose ASCII letters are not themselves is hardly ever one.
    if best is None or _LETTERS.decode(best.encoding, "replace") != _LETTERS.decode():
        return None
    return best.encoding


def _is_western(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if _WESTERN.fullmatch(text) is None or _FOREIGN.search(text) or _HUNGARIAN.issubset(text):
        return False
    letters = [character for character in text if character.isalpha()]
    return sum(not letter.isascii() for letter in letters) <= _MAX_ACCENTED * len(letters)
