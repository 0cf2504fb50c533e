"""Retriever and indexer actions."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema, to_json

from genkit_rag._core.action import Action, ActionKind, adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import json_schema, parse
from genkit_rag._documents.checks import id_of
from genkit_rag._documents.document import Document, documents_html
from genkit_rag._documents.wire import WireModel, wire_schema
from genkit_rag._rag.options import IndexerOptions, RetrieverOptions, parse_options, retriever_options
from genkit_rag._rag.recording import recorded

EMPTY_QUERY = "EMPTY_QUERY: the query has no text and no media, so there is nothing to look for."


class RetrieverRequest(WireModel):
    """The input of a retriever action."""

    query: Document
    options: Any = None


MAX_SHOWN = 50
"""How many documents a notebook shows of a response."""


class RetrieverResponse(list[Document]):
    """The documents that a retriever found, best first: a list with notices.

    Attributes:
        notices: Messages for the caller, for example `EMPTY_QUERY: ...`.
    """

    __slots__ = ("notices",)

    def __init__(self, documents: Iterable[Document] = (), notices: Sequence[str] = ()) -> None:
        super().__init__(documents)
        self.notices = list(notices)

    @property
    def documents(self) -> list[Document]:
        """The documents; the same as iterating the response."""
        return self

    def _repr_html_(self) -> str:
        notices = "".join(f"<p>{html.escape(notice)}</p>" for notice in self.notices)
        left = f"<p>{len(self) - MAX_SHOWN} more documents are left out.</p>" if len(self) > MAX_SHOWN else ""
        return f"{documents_html(self[:MAX_SHOWN])}{left}{notices}"

    def to_wire(self) -> dict[str, Any]:
        """Convert to Genkit's RetrieverResponse."""
        return {"documents": [document.to_wire() for document in self]}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def parse(raw: Any) -> RetrieverResponse:
            return raw if isinstance(raw, RetrieverResponse) else cls(_Wire.model_validate(raw).documents)

        return wire_schema(_Wire, parse, cls.to_wire, handler)


class _Wire(WireModel):
    documents: list[Document]


class IndexerRequest(WireModel):
    """The input of an indexer action."""

    documents: list[Document]
    options: Any = None


class IndexerResponse(WireModel):
    """The result of an indexer: the ids of the documents that are now in the store."""

    ids: list[str]


RetrieverAction = Action[RetrieverRequest, RetrieverResponse, None]
IndexerAction = Action[IndexerRequest, IndexerResponse, None]


def retriever_action(
    name: str,
    fn: Callable[..., Any],
    *,
    options_type: Any = RetrieverOptions,
    label: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> RetrieverAction:
    """Create a retriever action.

    Args:
        name: The name of the action.
        fn: `(query)`, `(query, options)` or `(query, options, ctx)`, sync or async. Returns documents, best first, of
            which the first `options.k` are kept.
        options_type: `RetrieverOptions` or your own type; other options raise INVALID_ARGUMENT.
        label: A name for people.
        metadata: Further metadata.
    """
    handler = adapt(fn, ("query", "options"))
    common = isinstance(options_type, type) and issubclass(options_type, RetrieverOptions)

    async def run(request: RetrieverRequest, ctx: ActionContext) -> RetrieverResponse:
        options = _options(options_type, request.options, common)
        if not request.query.data.strip():
            return RetrieverResponse(notices=[EMPTY_QUERY])
        if options is not request.options:
            request = request.model_copy(update={"options": options})
        found = await handler(request, ctx)
        notices = found.notices if isinstance(found, RetrieverResponse) else []
        keep = getattr(options, "k", None)
        documents = _documents(name, found)[: keep if isinstance(keep, int) else None]
        return RetrieverResponse(
            [document.copy(rank=rank, retriever=document.retriever or name) for rank, document in enumerate(documents)],
            notices,
        )

    return make_retriever(name, run, options_type=options_type, label=label, metadata=metadata)


def make_retriever(
    name: str,
    run: Callable[[RetrieverRequest, ActionContext], Any],
    *,
    options_type: Any,
    label: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> RetrieverAction:
    """Create a retriever action from a handler that validates its options itself."""
    return Action(
        ActionKind.RETRIEVER,
        name,
        recorded(run),
        input_type=RetrieverRequest,
        output_type=RetrieverResponse,
        description=label or name,
        metadata={
            **(metadata or {}),
            "type": "retriever",
            "info": {"label": label or name},
            "retriever": {"label": label or name, "customOptions": json_schema(options_type)},
        },
        telemetry=_retrieval_telemetry(name),
    )


def _documents(name: str, found: Any) -> list[Document]:
    documents: list[Any] = list(found) if isinstance(found, Iterable) else [found]
    wrong = [type(item).__name__ for item in documents if not isinstance(item, Document)]
    if wrong:
        raise GenkitError(
            "INTERNAL",
            f"The retriever `{name}` returned {wrong[0]} where documents were expected.",
            hint="Return a list of `Document`, or define it with `simple_retriever`.",
        )
    return documents


def _options(options_type: Any, raw: Any, common: bool) -> Any:
    if common and options_type is RetrieverOptions:
        return retriever_options(raw)
    if common:
        return retriever_options(parse_options(options_type, raw))
    return parse(options_type, {} if raw is None else raw, "`options`")


def simple_retriever_action(
    name: str,
    fn: Callable[..., Any],
    *,
    content: str | Callable[[Any], Any] | None = None,
    metadata: Sequence[str] | Callable[[Any], Mapping[str, Any]] | None = None,
) -> RetrieverAction:
    """Create a retriever action from a function that returns items of any kind.

    Args:
        name: Its name.
        fn: `(query)`, `(query, options)` or `(query, options, ctx)`, sync or async; gives a list of strings,
            documents or mappings.
        content: The key of an item's text, or a function of the item; not needed for strings and documents.
        metadata: The keys to keep, or a function of the item; all keys but the content's by default.
    """
    handler = adapt(fn, ("query", "options"))

    async def run(request: RetrieverRequest, ctx: ActionContext) -> list[Document]:
        return [_item(item, content, metadata) for item in await handler(request, ctx)]

    async def unpacked(query: Document, options: Any, ctx: ActionContext) -> list[Document]:
        return await run(RetrieverRequest(query=query, options=options), ctx)

    return retriever_action(name, unpacked)


def _item(item: Any, content: Any, metadata: Any) -> Document:
    if isinstance(item, Document):
        return item
    if isinstance(item, str):
        return Document(item)
    if not item:
        raise invalid("item", item, "of a simple retriever must not be empty")
    if content is None:
        raise invalid("item", item, "needs `content=` to become a document", hint="Pass a key or a function.")
    text: Any = content(item) if callable(content) else item[content]
    if callable(metadata):
        facts: Mapping[str, Any] = cast("Mapping[str, Any]", metadata(item))
    elif metadata is not None:
        facts = {key: item[key] for key in metadata if key in item}
    elif isinstance(content, str):
        facts = {key: value for key, value in item.items() if key != content}
    else:
        facts = {}
    return Document(text, facts)


def indexer_action(
    name: str,
    fn: Callable[..., Any],
    *,
    options_type: Any = IndexerOptions,
    label: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> IndexerAction:
    """Create an indexer action.

    Args:
        name: The name of the action.
        fn: `(documents)`, `(documents, options)` or `(documents, options, ctx)`, sync or async. The ids of the
            documents are unique. A result other than an `IndexerResponse` is ignored.
        options_type: `IndexerOptions` or your own type.
        label: A name for people.
        metadata: Further metadata.
    """
    handler = adapt(fn, ("documents", "options"))

    async def run(request: IndexerRequest, ctx: ActionContext) -> IndexerResponse:
        if isinstance(options_type, type) and issubclass(options_type, WireModel):
            options: Any = parse_options(options_type, request.options)
        else:
            options = parse(options_type, {} if request.options is None else request.options, "`options`")
        documents = unique(request.documents)
        if not documents:
            return IndexerResponse(ids=[])
        result = await handler(IndexerRequest.model_construct(documents=documents, options=options), ctx)
        if isinstance(result, IndexerResponse):
            return result
        return IndexerResponse(ids=[document.id for document in documents])

    return Action(
        ActionKind.INDEXER,
        name,
        run,
        input_type=IndexerRequest,
        output_type=IndexerResponse,
        description=label or name,
        metadata={**(metadata or {}), "type": "indexer", "indexer": {"customOptions": json_schema(options_type)}},
    )


def unique(documents: Sequence[Document]) -> list[Document]:
    """Remove exact duplicates; raise INVALID_ARGUMENT if two different documents have the same id."""
    found: dict[str, Document] = {}
    for position, document in enumerate(documents):
        first = found.setdefault(id_of(document, position), document)
        if first is not document and first.content_hash != document.content_hash:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"`documents[{position}]` has the id {document.id!r} of another document of the same call.",
                hint="Give each document its own id, or leave ids out for content hashes.",
                details={"argument": "documents", "id": document.id},
            )
    return list(found.values())


def _retrieval_telemetry(name: str) -> Callable[[RetrieverRequest, RetrieverResponse | None], dict[str, Any]]:
    provider = name.partition("/")[0]

    def attributes(request: RetrieverRequest, response: RetrieverResponse | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.provider.name": provider,
            "gen_ai.data_source.id": name,
        }
        options = request.options
        top_k = options.get("k", options.get("limit")) if isinstance(options, Mapping) else getattr(options, "k", None)
        if isinstance(top_k, int):
            found["gen_ai.request.top_k"] = top_k
        if response is not None:
            # Ids and scores, never bodies: those are content. One string costs a tenth of two lists.
            found["gen_ai.retrieval.documents"] = to_json([{"id": d.id, "score": d.score} for d in response]).decode()
        return found

    return attributes
