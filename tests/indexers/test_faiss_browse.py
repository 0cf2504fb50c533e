"""Paging through a FAISS store by what ids begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_faiss import FaissStore


@pytest.mark.parametrize("prefix", ["a", "aé", "\ud7ff", "\U0010ffff", "\U0010ffff\U0010ffff", "%", "z\U0010ffff"])
async def test_a_prefix_finds_exactly_the_ids_that_begin_so(tmp_path: Path, prefix: str) -> None:
    parts = ["a", "aé", "b", "\ud7ff", "\ue000", "\U0010ffff", "\U0010fffe", "%", "_", "z"]
    names = sorted({*parts, *(one + other for one in parts for other in parts)})
    store = await FaissStore.open(tmp_path / "docs")
    await store.bind(Fingerprint("test", "random", 16))
    await store.upsert([Document(name, id=name) for name in names], unit_vectors(len(names)))
    seen: list[str] = []
    after: str | None = None
    while True:
        page, after = await store.page(3, prefix=prefix, after=after)
        seen += [document.id for document in page]
        if after is None:
            break
    assert seen == [name for name in names if name.startswith(prefix)]
    await store.close()


async def test_a_cursor_that_no_page_gave_is_refused(tmp_path: Path) -> None:
    store = await FaissStore.open(tmp_path / "docs")
    await store.bind(Fingerprint("test", "random", 16))
    await store.upsert([Document("a", id="a")], unit_vectors(1))
    for after in ("", "x", "-1", "1.5", "9" * 40, "²"):
        with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
            await store.page(5, after=after)
    assert await store.page(5, after="7") == ([], None)
    await store.close()
