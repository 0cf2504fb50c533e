"""A route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genkit_rag.plugin_api import invalid


@dataclass(frozen=True)
class RouteConfig:
    """A retriever that a router may choose.

    Args:
        retriever: The name of the retriever.
        description: Its content; a model reads it, an embedder compares it with the query.
        examples: Typical queries; an embedder compares them with the query as well.
        options: Fixed options; its filter and the caller's must both match.
    """

    retriever: str
    description: str = ""
    examples: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if isinstance(self.examples, str):
            raise invalid("examples", self.examples, "must be a list of queries")

    @property
    def texts(self) -> list[str]:
        """Return the texts to compare with the query: description and examples."""
        return [text for text in (self.description, *self.examples) if text.strip()]

    def told(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options for the retriever."""
        merged = {**common, **self.options}
        if common.get("filter") and self.options.get("filter"):
            merged["filter"] = {"$and": [self.options["filter"], common["filter"]]}
        return merged
