"""Atomic writes: readers see all of a batch, or nothing of it.

One call of Chroma is atomic, and a batch is one call to a server. Embedded, a batch of several documents is written in
slices of `slice_rows`. It goes through three states, each a durable write to the collection's metadata that readers
obey:

1. *pending*: its rows are written, slice by slice, into the free slots of their documents, and are hidden. The rows
that they replace
   are marked.
2. *committed*: the rows are visible; the marked rows are hidden and deleted. Skipped if nothing was replaced.
3. nothing: the batch is done.

A writer that finds an abandoned state undoes a pending batch and finishes a committed one.
"""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag_chroma._catalog import new_id
from genkit_rag_chroma._rows import BATCH, GONE, SLOTS, Rows
from genkit_rag_chroma._space import Space, State

DELETE_ROWS = 500
"""How many rows one call deletes: some twenty milliseconds."""


async def write(space: Space, rows: Rows, present: dict[str, str]) -> None:
    """Write rows, replacing those of the same documents; the caller holds the writer's lock.

    Args:
        space: The namespace, without a running batch.
        rows: The rows.
        present: The existing rows of these documents, from `Space.present`.
    """
    if len(rows) == 1 or space.engine.shared:
        await add(space, rows, [present.get(name, SLOTS[0] + name) for name in rows.ids], 0, len(rows))
        return
    targets = [_other(present[name]) if name in present else SLOTS[0] + name for name in rows.ids]
    state = State("pending", new_id(), len(rows))
    for metadata in rows.metadatas:
        metadata[BATCH] = state.batch
    await space.change(state)
    for start in range(0, len(rows), space.engine.slice_rows):
        await add(space, rows, targets, start, start + space.engine.slice_rows)
    replaced = list(present.values())
    if replaced:
        for start in range(0, len(replaced), space.engine.slice_rows):
            ids = replaced[start : start + space.engine.slice_rows]
            await space.call("update", ids=ids, metadatas=[{GONE: state.batch}] * len(ids))
        await space.change(State("committed", state.batch, len(replaced)))
        await remove(space, replaced)
    await space.change(State(batch=state.batch))  # the batch's name stays: a reader sees that one came between


async def add(space: Space, rows: Rows, targets: Sequence[str], start: int, end: int) -> None:
    """Write some of the rows under the ids in one call."""
    await space.call(
        "upsert",
        ids=list(targets[start:end]),
        embeddings=rows.vectors[start:end],
        metadatas=rows.metadatas[start:end],
        documents=rows.words[start:end],
    )


async def remove(space: Space, rows: Sequence[str]) -> None:
    """Delete rows in slices; missing ones are ignored."""
    for start in range(0, len(rows), DELETE_ROWS):
        await space.call("delete", ids=list(rows[start : start + DELETE_ROWS]))


async def recover(space: Space) -> None:
    """Undo or finish the batch of a writer that was killed, cancelled or failed."""
    if space.state.hidden is None:
        return
    found = await space.call("get", where=space.state.hidden, include=[])
    await remove(space, found["ids"])
    await space.change(State(batch=space.state.batch))


def _other(row: str) -> str:
    return SLOTS[1 - SLOTS.index(row[0])] + row[1:]
