"""Checksums of files: blake2b over the blake2b of each block, so that every processor takes part."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BLOCK = 32 << 20


def block_digest(*parts: bytes | memoryview) -> bytes:
    """Returns the checksum of one block, given in parts."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    return digest.digest()


def whole_digest(blocks: Sequence[bytes]) -> str:
    """Returns the checksum of what consists of these blocks."""
    return block_digest(*blocks).hex()


def each_block(size: int, work: Callable[[int], bytes]) -> list[bytes]:
    """Returns what `work` gives for the offset of each block; hashing and reading leave the interpreter to others."""
    offsets = range(0, max(size, 1), BLOCK)
    if len(offsets) == 1:
        return [work(0)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, offsets))


def data_digest(data: memoryview) -> str:
    """Returns the checksum of bytes in memory."""
    return whole_digest(each_block(len(data), lambda at: block_digest(data[at : at + BLOCK])))


def file_digest(path: Path) -> str:
    """Returns the checksum of a file."""

    def block(at: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(at)
            return block_digest(file.read(BLOCK))

    return whole_digest(each_block(path.stat().st_size, block))
