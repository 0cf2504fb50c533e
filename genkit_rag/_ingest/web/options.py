"""How to crawl."""

from __future__ import annotations

from dataclasses import dataclass, field

from genkit_rag._core.errors import invalid
from genkit_rag._ingest.loaders import Loaders
from genkit_rag._net.policy import FetchPolicy

CONTENT_TYPES = (
    "text/*",
    "application/xhtml+xml",
    "application/xml",
    "application/*+xml",
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
    "application/pdf",
    "application/gzip",
    "application/x-gzip",
    "application/vnd.*",
    "application/epub+zip",
    "application/rtf",
    "application/octet-stream",
)
"""What may hold text; images, sound and films are not downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How to crawl.

    Attributes:
        same_site: Whether links are followed only to the hosts of the given URLs, with or without `www.`.
        concurrency: Requests at a time.
        requests_per_second: The most to one host; a `Crawl-delay` in its robots.txt may ask for fewer.
        user_agent: Who asks; its first word is what robots.txt is searched for.
        obey_robots: Whether robots.txt, `<meta name="robots">` and `X-Robots-Tag` are obeyed.
        retries: How many times a request is repeated after 429, 503 or a failed connection.
        retry_seconds: The first wait before a repetition, doubled each time, where the server asks for none.
        policy: What may be fetched; by default public servers only.
        loaders: What reads the pages.
    """

    same_site: bool = True
    concurrency: int = 4
    requests_per_second: float = 2.0
    user_agent: str = "genkit-rag"
    obey_robots: bool = True
    retries: int = 2
    retry_seconds: float = 1.0
    policy: FetchPolicy = field(default_factory=FetchPolicy)
    loaders: Loaders = field(default_factory=Loaders)

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise invalid("concurrency", self.concurrency, "must be at least 1")
        if self.retries < 0:
            raise invalid("retries", self.retries, "must not be negative")
        if not 0 < self.requests_per_second < float("inf"):
            raise invalid("requests_per_second", self.requests_per_second, "must be a positive number")
        if not 0 <= self.retry_seconds < float("inf"):
            raise invalid("retry_seconds", self.retry_seconds, "must be a number of seconds")
        if not self.user_agent.strip() or not self.user_agent.isprintable() or not self.user_agent.isascii():
            raise invalid("user_agent", self.user_agent, "must be printable ASCII text")

    @property
    def robot(self) -> str:
        """The name to look for in robots.txt."""
        return self.user_agent.replace("/", " ").split()[0]
