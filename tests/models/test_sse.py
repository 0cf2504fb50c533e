"""The decoder of server-sent events: the same events, wherever the bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag.plugin_api import GenkitError, SseDecoder

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)
FIELDS = ["", "data", "data: a", "data:  b", ": comment", ":", "event: x", "id: 1", "retry: 3", "datax: y", "é"]
LINES = st.lists(st.one_of(st.sampled_from(FIELDS), TEXT.map("data:{}".format)), max_size=12)
BLOCKS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=3)


def decode(chunks: list[bytes], decoder: SseDecoder | None = None) -> list[str]:
    decoder = decoder or SseDecoder()
    return [data for chunk in chunks for data in decoder.feed(chunk)]


def expected(lines: list[str]) -> list[str]:
    """The standard's algorithm over whole lines."""
    events: list[str] = []
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        if line == "":
            if data:
                events.append("\n".join(data))
            data = []
        elif field == "data":
            data.append(value.removeprefix(" "))
    return events


@given(blocks=BLOCKS, cuts=st.lists(st.integers(0, 400)))
def test_any_cutting_of_the_bytes_gives_the_events_of_the_standard(
    blocks: list[tuple[list[str], str]], cuts: list[int]
) -> None:
    # Each block has its own kind of line end; `end` stands between them so that a \r and a \n do not become one end.
    raw = "".join("".join(line + end for line in lines) + "end\n" for lines, end in blocks).encode()
    marks = sorted({cut for cut in cuts if cut < len(raw)})
    chunks = [raw[start:stop] for start, stop in zip([0, *marks], [*marks, len(raw)], strict=True)]
    assert decode(chunks) == expected([line for lines, _ in blocks for line in [*lines, "end"]])


@given(raw=st.binary(max_size=60), cut=st.integers(0, 60))
def test_any_bytes_at_all_decode_the_same_in_two_pieces_as_in_one(raw: bytes, cut: int) -> None:
    assert decode([raw[:cut], raw[cut:]]) == decode([raw])


def test_every_byte_by_itself_gives_the_same_events() -> None:
    raw = '\ufeffdata: {"a": "olá 👋"}\r\n\r\n: hi\r\ndata: one\rdata: two\r\r\nretry: 5\ndata:[DONE]\n\n'.encode()
    whole = ['{"a": "olá 👋"}', "one\ntwo", "[DONE]"]
    assert decode([raw]) == whole
    assert decode([bytes([byte]) for byte in raw]) == whole


def test_an_event_without_its_empty_line_is_not_given() -> None:
    assert decode([b"data: half"]) == []
    assert decode([b"data: half\n"]) == []


def test_a_form_feed_or_line_separator_does_not_end_a_line() -> None:
    raw = "data: a\x0c\u2028\x85b\n\n".encode()
    assert decode([raw]) == ["a\x0c\u2028\x85b"]


def test_a_large_event_in_small_pieces_arrives_whole() -> None:
    size = 10_000_000
    raw = b"data: " + b"x" * size + b"\n\n"
    [data] = decode([raw[start : start + 4096] for start in range(0, len(raw), 4096)])
    assert len(data) == size


@pytest.mark.parametrize("raw", [b"data: " + b"x" * 200, b"data: xxxxxxxxx\n" * 30])
def test_an_event_beyond_the_limit_is_refused(raw: bytes) -> None:
    with pytest.raises(GenkitError) as caught:
        decode([bytes([byte]) for byte in raw], SseDecoder(max_event_bytes=100))
    assert caught.value.status == "RESOURCE_EXHAUSTED"
