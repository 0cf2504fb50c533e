"""A decoder of server-sent events that does not care where the network cut the bytes.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterator

from genkit_rag.plugin_api import GenkitError

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""An event larger than this is refused, not collected."""

_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """Gives the data of each event; comments, ids, names and retry hints are left out."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._pieces: list[bytes] = []
        self._pending = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields the data of the events that these bytes complete; raises RESOURCE_EXHAUSTED for a huge one."""
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
        """Returns the data of an event without its end, as it stands where the stream stops."""
        return b"\n".join([*self._data, *_data_of(b"".join(self._pieces))]).decode("utf-8", "replace")

    def _take(self, piece: bytes) -> None:
        """Adds to the line. Sizes are of lines and events, not of packets: the same bytes are always refused alike."""
        self._pieces.append(piece)
        self._pending += len(piece)
        if self._pending + self._size > self._max:
            raise GenkitError(
                "RESOURCE_EXHAUSTED",
                f"The provider sent one event of more than {self._max} bytes.",
                hint="No chat server does: check that base_url is an OpenAI-compatible one.",
            )

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
