"""Fetching from addresses that somebody else chose: nothing private is reached, nothing grows without a bound."""

from genkit_rag._net.policy import FetchPolicy, shown_url

__all__ = ["FetchPolicy", "shown_url"]
