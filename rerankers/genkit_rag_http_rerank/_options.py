"""What may be set beside the server's address."""

from __future__ import annotations

from pydantic import Field

from genkit_rag.plugin_api import WireModel


class HttpRerankOptions(WireModel):
    """How a server is asked.

    Attributes:
        max_documents: Documents in one request; the default is the server's usual limit (see `Protocol`). Scores of
            several requests are compared with each other, so the server's scores must not depend on a request's
            other documents; those of cross-encoders do not.
        max_characters: Of longer texts only the beginning is sent.
        max_concurrency: Requests under way at once, of one call.
        max_retries: Attempts after the first one, for 408, 429, 5xx and lost connections.
        max_delay: The longest pause before a retry, in seconds; a server that asks for a longer one is not asked again.
        timeout: Seconds without a byte after which a request is given up (connecting: 10).
    """

    max_documents: int | None = Field(default=None, ge=1)
    max_characters: int = Field(default=20_000, ge=1)
    max_concurrency: int = Field(default=4, ge=1)
    max_retries: int = Field(default=2, ge=0)
    max_delay: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
