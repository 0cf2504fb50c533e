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
    """The identity of an embedding model. A store keeps it and rejects vectors of another model before writing.

    Attributes:
        provider: The plugin of the embedder.
        model: The name of the model.
        dimensions: The length of a vector.
        revision: The revision or hash of the weights, if known.
        normalized: Whether the vectors have length 1.
        prefixes: Texts prepended to queries and documents by asymmetric models.
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
        id: The id of the document.
        score: Higher is better; `StoreInfo.scores` has its kind and range.
        document: The document, or None if the search requested no payload. The caller owns it: a store never returns
            the same object twice.
    """

    id: str
    score: float
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """The kind and range of a score. Higher is always better."""

    kind: ScoreKind
    lowest: float = -math.inf
    highest: float = math.inf


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """The properties of a store.

    Attributes:
        name: The name of the store.
        count: The number of live documents in all namespaces.
        modes: The supported search modes.
        scores: The kind and range of the scores of each mode.
        fingerprint: The embedding model that the store is bound to; None while it is empty.
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
        """Add documents atomically and durably, replacing those with the same ids."""
        raise NotImplementedError

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> int:
        """Delete documents by id or by filter and return their number."""
        raise NotImplementedError

    async def get(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Document | None]:
        """Return the documents in the order of the ids; None for unknown ids."""
        raise NotImplementedError

    async def vectors(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[Vectors | None]:
        """Return the vectors in the order of the ids; None for unknown ids."""
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
        """Return for each query vector the best `k` matching documents, best first; `k` of them if `k` exist.

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
        """Return the best `k` documents by keyword search (BM25). Any string is a query; there is no query syntax."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` cannot search by words.",
            hint=f"Use mode={self.modes[0]!r}, or a store with a text index.",
        )

    async def count(self, *, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Count the live documents that match the filter; `namespace=None` counts all namespaces."""
        raise NotImplementedError

    async def ids(self, *, filter: Filter | None = None, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Return the ids of the documents that match the filter."""
        raise NotImplementedError

    async def describe(self) -> StoreInfo:
        """Return the properties of the store."""
        raise NotImplementedError

    async def reindex(self, fingerprint: Fingerprint, embed: Embed, *, batch_size: int = 256) -> int:
        """Replace the vectors of all documents atomically with those of another embedding model; return their number.

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

    # Inspection. These implementations work for every store; a store may override them with faster ones.

    async def page(
        self,
        limit: int,
        *,
        after: str | None = None,
        filter: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        prefix: str = "",
    ) -> tuple[list[Document], str | None]:
        """Return up to `limit` documents whose ids begin with `prefix`, and the start of the next page.

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
        """Return the ids of up to `limit` matching documents, spread over all of them; the same at every call."""
        return spread(await self.ids(filter=filter, namespace=namespace), limit)

    async def namespaces(self, limit: int) -> dict[str, int]:
        """Return the number of live documents of up to `limit` non-empty namespaces, largest first."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` cannot list its namespaces.",
            hint="Name the one to look at: `count(namespace=...)`.",
        )

    async def problems(self) -> list[str]:
        """Read all stored data and return the problems found; may take minutes."""
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The store `{self.name}` has no check of its own.",
            hint="Use the tools of the database that it stands on.",
        )

    async def close(self) -> None:
        """Frees files and connections. Safe to call twice; every other call then raises FAILED_PRECONDITION."""


def next_page(keys: Sequence[str], limit: int) -> str | None:
    """Return the last key of a page if one more key than `limit` was found."""
    return keys[limit - 1] if len(keys) > limit else None


_T = TypeVar("_T")


def spread(rows: Sequence[_T], limit: int) -> list[_T]:
    """Return up to `limit` of the rows, evenly spaced from the first one."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[position * len(rows) // limit] for position in range(limit)]


def fingerprint_mismatch(store: str, stored: Fingerprint, given: Fingerprint) -> GenkitError:
    """Create the error for vectors of another embedding model, with both names and the two ways out."""
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The store `{store}` holds vectors of {stored}; this embedder is {given}.",
        hint="Use the stored embedder, or change the store's with `ai.reindex` (`genkit-rag store reindex`).",
        details={"store": store, "stored": str(stored), "given": str(given)},
    )


def checked_vectors(raw: Any, dimensions: int | None, *, argument: str = "vectors") -> Vectors:
    """Convert vectors to a contiguous float32 array `(n, d)`; INVALID_ARGUMENT names row and problem.

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
