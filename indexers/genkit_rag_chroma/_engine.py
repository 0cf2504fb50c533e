"""The seam between the store and Chroma: one method, which an embedded client and a server's client both have."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import httpx
from chromadb import errors

from genkit_rag.plugin_api import GenkitError

MAX_ROWS = 5000
"""How many rows one call may name; Chroma's own limit is 5461 (32766 SQL variables, six for a row)."""


class Engine(Protocol):
    """Chroma, embedded or on a server. Errors are `GenkitError`, or one of the exceptions below.

    Attributes:
        where: The path or the URL, for people.
        shared: Whether others write without our lock, as to a server.
        slice_rows: The maximum number of rows of one call; longer batches need several.
    """

    where: str
    shared: bool
    slice_rows: int

    async def call(self, target: Any, method: str, /, **arguments: Any) -> Any:
        """Call a method of a collection, or of the client if the target is None."""
        ...

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Return the writer's lock; it excludes all writers except other clients of a server."""
        ...

    async def close(self) -> None:
        """Frees the client."""
        ...


class Gone(Exception):
    """The collection is not there, or no more."""


class Exists(Exception):
    """A collection of the name is there already."""


class Moved(Exception):
    """Rows came or went while they were read."""


def translated(error: Exception, where: str) -> Exception:
    """Convert an exception of Chroma or of the connection."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, GenkitError):
        return error
    if isinstance(error, errors.NotFoundError):
        return Gone(text)
    if "already exists" in text:
        return Exists(text)
    # The second text is the answer to a search while the first rows of a collection are written.
    if "Error finding id" in text or "Nothing found on disk" in text:
        return Moved(text)
    if isinstance(error, httpx.TransportError | asyncio.TimeoutError | ConnectionError) or "Could not connect" in text:
        return GenkitError(
            "UNAVAILABLE",
            f"The Chroma server at {where} does not answer ({text}).",
            hint="Start it with `chroma run --path <folder> --host 127.0.0.1 --port <port>`, or correct `url`.",
            details={"url": where},
        )
    return _refused(error, text, where)


def _refused(error: Exception, text: str, where: str) -> GenkitError:
    if isinstance(error, errors.ChromaAuthError | errors.AuthorizationError) or "401" in text or "403" in text:
        return GenkitError(
            "UNAUTHENTICATED", f"Chroma at {where} refused the credentials ({text}).", hint="Pass them in `headers`."
        )
    if isinstance(error, errors.BatchSizeExceededError) or "atch size" in text or "413" in text:
        return GenkitError(
            "RESOURCE_EXHAUSTED",
            f"Chroma at {where} takes no request of this size ({text}).",
            hint="Index with a smaller `batch_size`.",
        )
    if isinstance(error, errors.InvalidArgumentError | errors.InvalidDimensionException | ValueError | TypeError):
        return GenkitError("INVALID_ARGUMENT", f"Chroma at {where} refused the request ({text}).")
    if "locked" in text or "readonly" in text:
        return GenkitError(
            "UNAVAILABLE",
            f"The database at {where} cannot be written ({text}).",
            hint="Let one process write at a time, or use `chroma run` and `url`.",
        )
    return GenkitError("INTERNAL", f"Chroma at {where} failed ({text}).")


def closed_error(where: str) -> GenkitError:
    """Create the error for a closed store."""
    return GenkitError(
        "FAILED_PRECONDITION", f"The store at {where} is closed.", hint="Make a new one; closing is final."
    )
