"""The protocol of splitters, and their chunks."""

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
        text: The text without surrounding white space; never empty.
        start: Its offset in characters.
        end: The offset after it.
        heading_path: The headings that apply to all of it, outermost first; in code, the definitions.
        prefix: Text repeated from elsewhere in the document, before the chunk: the header of a table that was split. It
            counts towards the size.
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
        """Yield the chunks of a text; `language` is the programming language, such as "python"."""
        ...

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's: sources are split anew when it changes."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A splitter whose unit may be set from outside."""

    def with_count(self, count: Count | None) -> TextSplitter:
        """Return a copy that uses `count`, or `self` if a unit is already set."""
        ...


def with_count(splitter: TextSplitter, count: Count | None) -> TextSplitter:
    """Return the splitter with a unit for chunk sizes, unless it has its own or takes none."""
    return splitter.with_count(count) if count is not None and isinstance(splitter, Countable) else splitter


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens: UTF-8 bytes by four. Fast; the error can reach a third."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-length // CHARACTERS_PER_TOKEN)


def function_name(function: Callable[..., Any] | None) -> str:
    """Return the name of a function, for `settings`."""
    return str(getattr(function, "__qualname__", type(function).__name__))


def check_size(size: int) -> None:
    """Raise INVALID_ARGUMENT for an invalid chunk size."""
    if size < 1:
        raise invalid("size", size, "must be at least 1")
