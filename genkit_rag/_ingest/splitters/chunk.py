"""What a splitter is, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from genkit_rag._core.errors import invalid

Count = Callable[[str], int]
"""How long a text is, in the unit of `size`: `len` for characters, a tokenizer for tokens."""

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb for English text in subword tokens; other scripts are counted by their UTF-8 bytes."""


class Chunk(NamedTuple):
    """A part of a text: `text == source[start:end]`.

    Attributes:
        text: The part, without white space around it; never empty.
        start: Its offset in characters.
        end: The offset behind it.
        heading_path: The headings that all of it stands under, outermost first; in code, the definitions.
        prefix: What stands before the text in the document, repeated from elsewhere: the header of a table whose
            other rows are here. It counts towards the size.
    """

    text: str
    start: int
    end: int
    heading_path: tuple[str, ...] = ()
    prefix: str = ""


class TextSplitter(Protocol):
    """Anything that cuts text into chunks.

    Every character that is not white space must be in some chunk; the chunks are in order, and the same at every call.
    It is called in a worker thread.
    """

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yields the chunks of a text; `language` is that of a program, such as "python"."""
        ...

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's: sources are split anew when it changes."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A splitter whose unit may be set from outside."""

    def with_count(self, count: Count | None) -> TextSplitter:
        """Returns itself if it has a unit of its own, else a twin with this one."""
        ...


def with_count(splitter: TextSplitter, count: Count | None) -> TextSplitter:
    """Returns the splitter with a unit to measure chunks in, unless it has one of its own or takes none."""
    return splitter.with_count(count) if count is not None and isinstance(splitter, Countable) else splitter


def estimate_tokens(text: str) -> int:
    """Returns about how many tokens a text has: its UTF-8 bytes by four. Cheap, and off by a third on some texts."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-length // CHARACTERS_PER_TOKEN)


def function_name(function: Callable[..., Any] | None) -> str:
    """Returns the name of a unit or an embedder, for `settings`."""
    return str(getattr(function, "__qualname__", type(function).__name__))


def check_size(size: int) -> None:
    """Refuses a size that no chunk can have."""
    if size < 1:
        raise invalid("size", size, "must be at least 1")
