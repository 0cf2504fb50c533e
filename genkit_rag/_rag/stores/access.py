"""Access rules of a store: a required filter and a required namespace, set by the owner of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.document import Document
from genkit_rag._documents.filters import And, Filter, matches, parse_filter
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

RequiredFilter = Mapping[str, Any] | Callable[[ActionContext], Mapping[str, Any]]
RequiredNamespace = str | Callable[[ActionContext], str]


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a store that one call may access: a namespace and a filter."""

    namespace: str
    filter: Filter | None

    def sees(self, document: Document | None) -> bool:
        """Return whether the caller may see a document of the namespace."""
        return document is not None and matches(self.filter, document.metadata)


@dataclass(frozen=True, slots=True)
class Access:
    """The access rules of a store. They apply to every call of its actions; a call cannot remove or widen them.

    Args:
        required_filter: A filter, or a function of the action's context that returns one (`{}` allows everything). Only
            documents that match it are found, counted, deleted, replaced or written.
        required_namespace: A namespace, or a function of the context that returns one: the only one that is used.
    """

    required_filter: RequiredFilter | None = None
    required_namespace: RequiredNamespace | None = None

    def __post_init__(self) -> None:
        for name, value in (("required_filter", self.required_filter), ("required_namespace", self.required_namespace)):
            wanted: Any = Mapping if name == "required_filter" else str
            if value is not None and not callable(value) and not isinstance(value, wanted):
                raise invalid(
                    name,
                    value,
                    f"must be a {wanted.__name__.lower()} or a function of the context",
                    hint="For example lambda ctx: {'tenant': ctx.context['tenant']}.",
                )
        if isinstance(self.required_filter, Mapping):
            parse_filter(self.required_filter)

    def scope(self, ctx: ActionContext, namespace: str = DEFAULT_NAMESPACE, filter: Filter | None = None) -> Scope:
        """Combine the rules with the namespace and the filter of a call.

        Raises:
            GenkitError: PERMISSION_DENIED if the rules cannot be evaluated in this context, or for another namespace.
        """
        if self.required_namespace is not None:
            own = _evaluated("required_namespace", self.required_namespace, ctx, str)
            if namespace not in (DEFAULT_NAMESPACE, own):
                raise GenkitError(
                    "PERMISSION_DENIED",
                    f"`options.namespace` is {namespace!r}, which is not the namespace of this caller.",
                    hint="Leave it out: the store's `required_namespace` chooses it.",
                    details={"argument": "options.namespace"},
                )
            namespace = own
        if self.required_filter is not None:
            required = parse_filter(_evaluated("required_filter", self.required_filter, ctx, Mapping))
            if required is not None:
                filter = required if filter is None else And((required, filter))
        return Scope(namespace, filter)

    @property
    def open(self) -> bool:
        """Whether the store has no access rules."""
        return self.required_filter is None and self.required_namespace is None


def _evaluated(name: str, rule: Any, ctx: ActionContext, kind: Any) -> Any:
    if not callable(rule):
        return rule  # checked when it was given
    try:
        value = rule(ctx)
    except Exception as error:
        raise GenkitError(
            "PERMISSION_DENIED",
            f"`{name}` cannot be evaluated for this caller: {type(error).__name__}: {error}.",
            hint="Pass what it needs as `context={...}` of the call.",
            details={"context": sorted(map(str, ctx.context))},
        ) from error
    if not isinstance(value, kind):
        raise GenkitError(
            "PERMISSION_DENIED",
            f"`{name}` gave {value!r} for this caller, not a {kind.__name__.lower()}.",
            hint="Return {} for a caller that may see everything." if kind is Mapping else "Return a namespace's name.",
        )
    return value


def refuse_foreign(scope: Scope, documents: Sequence[Document], there: Sequence[Document | None]) -> None:
    """Raise PERMISSION_DENIED for documents outside of the scope, or that replace documents outside of it."""
    for document, old in zip(documents, there, strict=True):
        if scope.sees(document) and (old is None or scope.sees(old)):
            continue
        raise GenkitError(
            "PERMISSION_DENIED",
            f"The document {document.id!r} is not this caller's to write: the store's `required_filter` hides it.",
            hint="Give its metadata the values that the filter asks for, and an id of its own.",
            details={"argument": "documents", "id": document.id},
        )
