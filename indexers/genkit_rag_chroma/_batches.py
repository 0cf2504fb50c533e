"""Writing: a batch of any size is there at once, or not at all.

One call of Chroma's is atomic, and to a server a batch is one call. Embedded, a batch of several documents is written
in slices of `slice_rows`. It goes through three states, each one durable write to the collection's metadata, and
readers obey the state:

1. *pending*: its rows are written, slice by slice, into the free slots of their documents, and are not to be seen. The
   rows that they replace are marked.
2. *committed*: they are seen, the marked rows are not, and are deleted. Where nothing was replaced it is left out.
3. nothing: the batch is done.

A writer that finds a state which nobody works on undoes what is pending and finishes what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag_chroma._catalog import new_id
from genkit_rag_chroma._rows import BATCH, GONE, SLOTS, Rows
from genkit_rag_chroma._space import Space, State

DELETE_ROWS = 500
"""How many rows one call deletes: some twenty milliseconds."""


async def write(space: Space, rows: Rows, present: dict[str, str]) -> None:
    """Writes rows, replacing those of the same documents; whoever calls it holds the writer's lock.

    Args:
        space: The namespace, with nothing under way.
        rows: What to write.
        present: The rows of these documents that are there, as `Space.present` gives them.
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
    """Writes some of the rows under the ids, at once."""
    await space.call(
        "upsert",
        ids=list(targets[start:end]),
        embeddings=rows.vectors[start:end],
        metadatas=rows.metadatas[start:end],
        documents=rows.words[start:end],
    )


async def remove(space: Space, rows: Sequence[str]) -> None:
    """Deletes rows, some at a time; those that are gone already are no error."""
    for start in range(0, len(rows), DELETE_ROWS):
        await space.call("delete", ids=list(rows[start : start + DELETE_ROWS]))


async def recover(space: Space) -> None:
    """Undoes or finishes what a writer left behind that was killed, cancelled or failed."""
    if space.state.hidden is None:
        return
    found = await space.call("get", where=space.state.hidden, include=[])
    await remove(space, found["ids"])
    await space.change(State(batch=space.state.batch))


def _other(row: str) -> str:
    return SLOTS[1 - SLOTS.index(row[0])] + row[1:]
