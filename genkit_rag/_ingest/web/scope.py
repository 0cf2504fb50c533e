"""Which pages of a site a crawl fetches."""

from __future__ import annotations

from dataclasses import dataclass

from genkit_rag._core.errors import invalid


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of a crawl.

    Attributes:
        depth: The number of links to follow from the given pages.
        max_pages: The maximum number of pages to fetch.
        include: Patterns of which a link must match one; empty for all links.
        exclude: Patterns of links to leave out.
    """

    depth: int
    max_pages: int
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise invalid("depth", self.depth, "must not be negative")
        if self.max_pages < 1:
            raise invalid("max_pages", self.max_pages, "must be at least 1")
