"""A store whose every answer is known, in this process and in others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, parse_filter
from genkit_rag_faiss import FaissStore

N = 200
PRELUDE = """
import asyncio, os, resource, sys
import numpy as np
from genkit_rag.plugin_api import Document, GenkitError, parse_filter
from genkit_rag_faiss import FaissStore
def unit(n, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
async def call(awaitable):
    try:
        return "done", await awaitable
    except GenkitError as error:
        return error.status, error.message
"""


def unit(n: int, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def documents(n: int = N, version: int = 0) -> list[Document]:
    return [Document(f"word{i} version{version}", {"i": i, "version": version}, id=f"d{i}") for i in range(n)]


async def fill(path: Path, seed: int = 0, version: int = 0, **options: Any) -> FaissStore:
    store = await FaissStore.open(path, **options)
    await store.upsert(documents(version=version), unit(N, seed))
    await store.count(filter=parse_filter({"version": version}))
    await store.search_text("word7", 1)
    return store


async def assert_right(store: FaissStore, seed: int = 0, version: int = 0) -> None:
    rows = unit(N, seed)
    assert await store.count() == N
    assert (await store.get(["d7", "nobody"]))[1] is None
    for i, hits in enumerate(await store.search(rows, 2)):
        assert hits[0].id == f"d{i}"
        assert hits[0].document is not None
        assert hits[0].document.text == f"word{i} version{version}"
    assert len(await store.ids(filter=parse_filter({"version": version}))) == N
    assert [hit.id for hit in await store.search_text("word77", 5)] == ["d77"]


async def assert_right_at(path: Path, seed: int = 0, version: int = 0, **options: Any) -> None:
    store = await FaissStore.open(path, **options)
    try:
        await assert_right(store, seed, version)
        assert (await store.verify()).ok
    finally:
        await store.close()


def run(code: str, *arguments: object, flag: str = "-B") -> str:
    """Returns what a process prints that runs the code after `PRELUDE`."""
    done = subprocess.run(
        [sys.executable, flag, "-c", PRELUDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout
