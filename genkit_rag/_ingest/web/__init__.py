"""Web pages and sitemaps as documents to ingest."""

from genkit_rag._ingest.web.options import WebOptions
from genkit_rag._ingest.web.pages import WebPages, web_pages

__all__ = ["WebOptions", "WebPages", "web_pages"]
