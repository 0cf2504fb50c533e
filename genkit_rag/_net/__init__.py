"""Guarded fetching of URLs from untrusted sources: no private addresses, bounded size and time."""

from genkit_rag._net.policy import FetchPolicy, shown_url

__all__ = ["FetchPolicy", "shown_url"]
