"""Bodies within bounds: size before and after decompression, time, and nesting, all before anything parses them."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_INLINE_BYTES = 32_768
"""Bodies up to this are scanned in the event loop: it takes less than handing them to a thread."""

# A string is one match and is possessive, closed or not: no input makes the scan go back.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class Disconnected(Exception):
    """The client went away before its body was complete."""


def nests_deeper(body: bytes, depth: int) -> bool:
    """Return whether brackets nest deeper than `depth` in a JSON text, without recursion or parsing."""
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    level = 0
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            level += 1
            if level > depth:
                return True
        elif first in b"]}":
            level -= 1
    return False


def inflate(body: bytes, limit: int) -> bytes:
    """Decompress a gzip body; RESOURCE_EXHAUSTED if the result exceeds `limit` bytes."""
    out, rest = b"", body
    try:
        while rest:  # a gzip file may have several members
            engine = zlib.decompressobj(wbits=31)
            out += engine.decompress(rest, limit + 1 - len(out))
            if len(out) > limit:
                raise too_large(limit)
            if not engine.eof:
                raise zlib.error("cut off")
            rest = engine.unused_data
    except zlib.error as error:
        raise GenkitError("INVALID_ARGUMENT", "The body is not valid gzip.", cause=error) from None
    return out


def too_large(limit: int) -> GenkitError:
    """Create the error for a body over the limit."""
    return GenkitError(
        "RESOURCE_EXHAUSTED",
        f"The body is larger than {limit} bytes.",
        hint="Send less at once.",
        details={"http": 413},
    )


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """Read the whole body; RESOURCE_EXHAUSTED over `limit` bytes, DEADLINE_EXCEEDED after `seconds`."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise GenkitError(
            "DEADLINE_EXCEEDED", f"The body was not complete after {seconds:g} seconds.", details={"http": 408}
        ) from None


async def check_depth(body: bytes, depth: int) -> None:
    """Raise INVALID_ARGUMENT if a JSON body nests deeper than `depth`."""
    if len(body) <= _INLINE_BYTES:
        deeper = nests_deeper(body, depth)
    else:
        deeper = await run_in_thread(nests_deeper, body, depth)
    if deeper:
        raise GenkitError("INVALID_ARGUMENT", f"The JSON nests deeper than {depth} levels.", hint="Flatten it.")


async def decompress(body: bytes, limit: int) -> bytes:
    """Run `inflate(body, limit)` in a thread."""
    return await run_in_thread(inflate, body, limit)
