"""A route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genkit_rag.plugin_api import invalid


@dataclass(frozen=True)
class RouteConfig:
    """A retriever that a router may ask.

    Args:
        retriever: Its name.
        description: What it knows; a model reads it, an embedder compares it with the query.
        examples: Queries that belong to it; an embedder compares them with the query as well.
        options: Options that it is always asked with; its filter and the caller's must both be true.
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
        """What the query is compared with: description and examples."""
        return [text for text in (self.description, *self.examples) if text.strip()]

    def told(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the options that it is asked with."""
        merged = {**common, **self.options}
        if common.get("filter") and self.options.get("filter"):
            merged["filter"] = {"$and": [self.options["filter"], common["filter"]]}
        return merged
