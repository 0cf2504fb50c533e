"""The one seam for stores: a dozen data verbs. Everything else (actions, embedding, fusion) is derived from them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import Filter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
else:
    Vectors = Any

SearchMode = Literal["vector", "text", "hybrid"]
Embed = Callable[[Sequence[Document]], Awaitable["Vectors"]]
"""Gives one vector for each document, in their order."""
ScoreKind = Literal["cosine", "dot", "bm25", "fused", "rerank", "other"]

DEFAULT_NAMESPACE = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What makes vectors comparable. Stored with an index; another one is refused before anything is written.

    Attributes:
        provider: The plugin that embeds.
        model: The model's name.
        dimensions: The length of a vector.
        revision: The weights' revision or hash, where known.
        normalized: Whether the vectors have length 1.
        prefixes: What is put before queries and documents, for asymmetric models.
    """

    provider: str
    model: str
    dimensions: int
    revision: str = ""
    normalized: bool = True
    prefixes: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        revision = f"@{self.revision[:12]}" if self.revision else ""
        prefixes = f", prefixes {self.prefixes}" if any(self.prefixes) else ""
        normalized = "" if self.normalized else ", not normalized"
        return f"{self.provider}/{self.model}{revision}, {self.dimensions} dimensions{normalized}{prefixes}"


@dataclass(slots=True)
class Hit:
    """One result of a search.

    Attributes:
        id: The document's id.
        score: Higher is better; what it means stands in `StoreInfo.scores`.
        document: The document, or None when the search was asked for no payload. It belongs to the caller: a store
            never hands out the same object twice.
    """

    id: str
    score: float
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """What a score is. Higher is always better."""

    kind: ScoreKind
    lowest: float = -math.inf
    highest: float = math.inf


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store says of itself.

    Attributes:
        name: Its name.
        count: Number of live documents in all namespaces.
        modes: The search modes that it can do.
        scores: What the scores of each mode are.
        fingerprint: The embedder that it is bound to; None while it is empty.
        details: Further facts for people: sizes, index kind, paths.
    """

    name: str
    count: int
    modes: tuple[SearchMode, ...]
    scores: dict[SearchMode, ScoreInfo]
    fingerprint: Fingerprint | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


class VectorStore:
    """Documents with vectors, by id within a namespace. Subclass it, then run `VectorStoreContract` over it.

    The framework calls it with checked values: vectors are finite, C-contiguous float32 of shape `(n, dimensions)`, ids
    are unique within a batch, `k >= 1`, filters are parsed. All methods may be called concurrently from one event
    loop; none may block it for more than a few milliseconds.
    """

    name: str = ""
    modes: tuple[SearchMode, ...] = ("vector",)

    async def bind(self, fingerprint: Fingerprint) -> None:
        """Ties the store to an embedder (kept with the data) or checks that it is tied to this one.

        Raises FAILED_PRECONDITION (`fingerprint_mismatch`) for another; it changes nothing then.
        """
        raise NotImplementedError

    async def upsert(
        self, documents: Sequence[Document], vectors: Vectors, *, namespace: str = DEFAULT_NAMESPACE
    ) -> None:
        """Adds documents, replacing those whose ids are there; all or none. Returning means that it is durable."""
        raise NotImplementedError

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Returns how many documents were there and are gone: those with the ids, or those that pass the filter."""
        raise NotImplementedError

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Returns the documents in the order of the ids; None where there is none."""
        raise NotImplementedError

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Returns the vectors in the order of the ids; None where there is none."""
        raise NotImplementedError

    async def search(
        self,
        vectors: Vectors,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[list[Hit]]:
        """Returns, for each query vector, the best `k` that pass the filter, best first; k of them when k exist.

        With `payload=False` a store may leave `Hit.document` out; the framework then calls `get` for those it keeps.
        """
        raise NotImplementedError

    async def search_text(
        self,
        query: str,
        k: int,
        *,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        payload: bool = True,
    ) -> list[Hit]:
        """Returns the best `k` by words (BM25). Any string is a query: there is no query syntax."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` cannot search by words.",
            hint=f"Use mode={self.modes[0]!r}, or a store with a text index.",
        )

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Returns the number of live documents that pass; `namespace=None` counts all namespaces."""
        raise NotImplementedError

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Returns the ids of the documents that pass."""
        raise NotImplementedError

    async def describe(self) -> StoreInfo:
        """Returns what the store is and holds."""
        raise NotImplementedError

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Returns how many documents have got the vectors of another embedder, with its fingerprint, all at once.

        Searches see the old vectors until then. Nothing changes when it fails or is killed; a durable store then goes
        on where it was. Documents that are written meanwhile are included.

        Args:
            fingerprint: The other embedder's; its vectors may be of another length.
            embed: Gives the vectors; called with at most `batch_size` documents, one call at a time.
            batch_size: How many documents are embedded, and made durable, together.
        """
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` cannot change its embedder.",
            hint="Index the documents again into a new store.",
        )

    # Looking inside; a store may do better than what stands here, and need not.

    async def page(
        self,
        limit: int,
        *,
        after: str | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        prefix: str = "",
    ) -> tuple[list[Document], str | None]:
        """Returns up to `limit` documents whose ids begin with `prefix`, and where the next page begins.

        None says that this is the last one. Walking from page to page gives everything that is not written meanwhile
        exactly once. The order, and the text of `after`, are the store's own. This one asks `ids` for all of them each
        time: a store that holds many should look up the next rows by a key.
        """
        known = await self.ids(filter=filter, namespace=namespace)
        wanted = (one for one in known if one.startswith(prefix) and (after is None or one > after))
        chosen = await run_in_thread(heapq.nsmallest, limit + 1, wanted)
        found = await self.get(chosen[:limit], namespace=namespace)
        return [document for document in found if document is not None], next_page(chosen, limit)

    async def sample(
        self, limit: int, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE
    ) -> list[str]:
        """Returns the ids of up to `limit` documents that pass, spread over all of them; the same at every call."""
        return spread(await self.ids(filter=filter, namespace=namespace), limit)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Returns how many live documents the namespaces have: up to `limit` of those that have any, largest first."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` cannot list its namespaces.",
            hint="Name the one to look at: `count(namespace=...)`.",
        )

    async def problems(self) -> list[str]:
        """Returns what is wrong with the stored data, after reading all of it; may take minutes."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` has no check of its own.",
            hint="Use the tools of the database that it stands on.",
        )

    async def close(self) -> None:
        """Frees files and connections. Safe to call twice; every other call then raises FAILED_PRECONDITION."""


def next_page(keys: Sequence[str], limit: int) -> str | None:
    """Returns the last key of a page for which one key too many was asked, when that one was there."""
    return keys[limit - 1] if len(keys) > limit else None


_T = TypeVar("_T")


def spread(rows: Sequence[_T], limit: int) -> list[_T]:
    """Returns up to `limit` of the rows, evenly spaced from the first one on."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[position * len(rows) // limit] for position in range(limit)]


def fingerprint_mismatch(store: str, stored: Fingerprint, given: Fingerprint) -> GenkitError:
    """Returns the error for vectors of another embedder; names both and the two ways out."""
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The store `{store}` holds vectors of {stored}; this embedder is {given}.",
        hint="Use the stored embedder, or change the store's with `ai.reindex` (`genkit-rag store reindex`).",
        details={"store": store, "stored": str(stored), "given": str(given)},
    )


def checked_vectors(raw: Any, dimensions: int | None, *, argument: str = "vectors") -> Vectors:
    """Returns vectors as a contiguous float32 array `(n, d)`; raises INVALID_ARGUMENT that names row and problem.

    Args:
        raw: An array or nested lists of numbers; a flat one is one vector.
        dimensions: The length that each must have; None takes any.
        argument: How the error calls it.
    """
    import numpy as np

    if isinstance(raw, np.ndarray) and raw.shape == (1, dimensions or raw.shape[-1]) and raw.dtype == np.float32:
        one: Any = raw[0]
        if math.isfinite(one @ one):  # a query: every microsecond of it counts
            return raw if raw.flags.c_contiguous else np.ascontiguousarray(raw)
    try:
        array = np.asarray(raw)  # its own type is asked for: with float32 the text '1' would become a number
    except (ValueError, TypeError) as error:
        raise invalid(argument, type(raw).__name__, "must be vectors of one length", hint=str(error)) from error
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or (len(array) and not array.shape[1]):
        raise invalid(
            argument,
            f"shape {array.shape}, dtype {array.dtype}",
            "must be numbers in the shape (n, dimensions)",
            hint="Give one list or array of numbers for each input.",
        )
    if dimensions is not None and array.shape[1] != dimensions:
        raise invalid(
            argument,
            array.shape[1],
            f"must have {dimensions} dimensions",
            hint="Use the embedder that the store was filled with, or change the store's with `ai.reindex`.",
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        result = cast(Vectors, np.ascontiguousarray(array, dtype=np.float32))
    # One dot product per row finds NaN and Inf alike without a temporary of the same size.
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("ij,ij->i", result, result)
    if not np.isfinite(norms).all():
        raise _not_finite(result, int(np.flatnonzero(~np.isfinite(norms))[0]), argument)
    return result


def _not_finite(vectors: Vectors, row: int, argument: str) -> GenkitError:
    import numpy as np

    if np.isfinite(vectors[row]).all():
        problem, hint = "must not be so long that its length overflows", "Scale it down, or normalise it."
    else:
        problem, hint = "must be finite numbers", "A NaN or infinity came out of the embedder: check that text."
    error = invalid(argument, f"row {row}", problem, hint=hint)
    error.details |= {"row": row, "rows": len(vectors)}
    return error
