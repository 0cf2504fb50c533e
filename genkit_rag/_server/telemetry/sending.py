"""How spans go out: as posts of one trace each, over one kept connection."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from genkit_rag._core.errors import invalid
from genkit_rag._server.telemetry.wire import SpanData

_TIMEOUT_SECONDS = 5.0


@dataclass
class _Post:
    trace_id: str
    items: list[str] = field(default_factory=list[str])
    size: int = 0
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def body(self) -> bytes:
        head = json.dumps({"traceId": self.trace_id, **self.facts})
        return f'{head[:-1]},"spans":{{{",".join(self.items)}}}}}'.encode()


def posts_of(spans: Iterable[tuple[SpanData, str]], max_bytes: int) -> list[tuple[bytes, int]]:
    """Build request bodies of one trace each, with the number of their spans.

    A post that holds the root says its name and times of the trace: Genkit's tools show no others.
    """
    posts: list[_Post] = []
    newest: dict[str, _Post] = {}
    for span, data in spans:
        item = f'"{span.span_id}":{data}'
        post = newest.get(span.trace_id)
        if post is None or post.size + len(item) > max_bytes:
            post = newest[span.trace_id] = _Post(span.trace_id)
            posts.append(post)
        post.items.append(item)
        post.size += len(item)
        if span.parent_span_id is None:
            post.facts = _facts(span)
    return [(post.body(), len(post.items)) for post in posts]


def _facts(root: SpanData) -> dict[str, Any]:
    facts = {"displayName": root.display_name, "startTime": root.start_time}
    return {**facts, "endTime": root.end_time} if root.end_time else facts


class Sender:
    """Posts to one server over one kept connection.

    Attributes:
        url: The server's address.

    Raises:
        GenkitError: INVALID_ARGUMENT for anything but `http(s)://host:port`.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise invalid("url", url if "@" not in url else "...", "must be http://host:port")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/api/traces"
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Content-Type": "application/json", **({"X-Genkit-Token": token} if token else {})}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> int | None:
        """Post a body and return the HTTP status; None if the server is unreachable."""
        for fresh in (False, True):  # a kept connection may have been closed by the server
            kept = self._connection is not None
            try:
                connection = self._connect()
                connection.request("POST", self._path, body, self._headers)
                response = connection.getresponse()
                response.read()
                return response.status
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh or not kept or isinstance(error, TimeoutError):
                    return None
        return None

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
