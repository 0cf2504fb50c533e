"""Notes what retrievers find while a row of a dataset is run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from genkit_rag._core.context import ActionContext
from genkit_rag._documents.document import Document

Found = TypeVar("Found", bound=Sequence[Document])

_recorder: ContextVar[list[Document] | None] = ContextVar("genkit_rag_retrieved", default=None)


@contextmanager
def recording() -> Generator[list[Document]]:
    """Collect the documents that retrievers return inside the block, in the order of the calls."""
    found: list[Document] = []
    token = _recorder.set(found)
    try:
        yield found
    finally:
        _recorder.reset(token)


def recorded(
    run: Callable[[Any, ActionContext], Awaitable[Found]],
) -> Callable[[Any, ActionContext], Awaitable[Found]]:
    """Wrap the handler of a retriever so that it records its documents inside a `recording()` block.

    A retriever that calls others, for example a hybrid one, records only its own result.
    """

    async def record(request: Any, ctx: ActionContext) -> Found:
        found = _recorder.get()
        if found is None:
            return await run(request, ctx)
        token = _recorder.set(None)
        try:
            documents = await run(request, ctx)
        finally:
            _recorder.reset(token)
        found.extend(documents)
        return documents

    return record
