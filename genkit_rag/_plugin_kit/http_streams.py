"""Decoders of streamed answers: server-sent events and lines of JSON, however the network cut the bytes.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterator

from genkit_rag._core.errors import GenkitError

MAX_STREAM_ITEM_BYTES = 32 * 1024 * 1024
"""The largest event or line; a larger one raises RESOURCE_EXHAUSTED instead of filling the memory."""

_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """A decoder that yields the data of each event; comments, ids, names and retry hints are dropped."""

    def __init__(self, max_event_bytes: int = MAX_STREAM_ITEM_BYTES) -> None:
        self._max = max_event_bytes
        self._pieces: list[bytes] = []
        self._pending = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the data of the events that these bytes complete; raises RESOURCE_EXHAUSTED for a huge event."""
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r") if chunk else False
        # \r\n first: a pair is one line end. Not splitlines(), which splits at form feeds and the like as well.
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for end in lines:
            self._take(end)
            line = b"".join(self._pieces)
            self._pieces.clear()
            self._pending = 0
            data = self._line(line)
            if data is not None:
                yield data
        if rest:
            self._take(rest)

    def rest(self) -> str:
        """Return the data of the incomplete event at the end of the stream."""
        return b"\n".join([*self._data, *_data_of(b"".join(self._pieces))]).decode("utf-8", "replace")

    def _take(self, piece: bytes) -> None:
        # Count lines and events, not packets, so that the same bytes always give the same result.
        self._pieces.append(piece)
        self._pending += len(piece)
        if self._pending + self._size > self._max:
            raise _too_large("event", self._max)

    def _line(self, line: bytes) -> str | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        for value in _data_of(line):
            self._data.append(value)
            self._size += len(line)
        return None

    def _dispatch(self) -> str | None:
        self._size = 0
        if not self._data:
            return None
        data = b"\n".join(self._data)
        self._data.clear()
        return data.decode("utf-8", "replace")


def _data_of(line: bytes) -> list[bytes]:
    field, _, value = line.partition(b":")
    return [value.removeprefix(b" ")] if field == b"data" else []


async def split_lines(chunks: AsyncIterable[bytes], max_bytes: int = MAX_STREAM_ITEM_BYTES) -> AsyncGenerator[bytes]:
    r"""Yield the lines that are not blank, each with its line end; the last line may lack it.

    Lines end at `\n` only, because JSON may contain other line separators. Raises RESOURCE_EXHAUSTED for a huge line.
    """
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            _check_line(size + len(end), max_bytes)
            line = b"".join([*pieces, end, b"\n"])
            pieces.clear()
            size = 0
            if line.strip():
                yield line
        pieces.append(rest)
        size += len(rest)
        _check_line(size, max_bytes)
    if b"".join(pieces).strip():
        yield b"".join(pieces)


def _check_line(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise _too_large("line", max_bytes)


def _too_large(kind: str, max_bytes: int) -> GenkitError:
    return GenkitError(
        "RESOURCE_EXHAUSTED",
        f"The server sent a streamed {kind} of more than {max_bytes} bytes.",
        hint="Check that the configured address is the one of the provider's API.",
    )
