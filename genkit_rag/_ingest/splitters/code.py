"""Chunks of programs, cut by their syntax.

The syntax tree is split where a node does not fit, and neighbours that fit together are packed: the method of "cAST:
Enhancing Code Retrieval-Augmented Generation with Structural Chunking via Abstract Syntax Tree" (Zhang et al., 2025,
arXiv:2506.15655).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from genkit_rag._core.errors import require_extra
from genkit_rag._documents.document import Document
from genkit_rag._ingest.splitters.chunk import Chunk, Count, check_size, function_name
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.grammars import parse
from genkit_rag._ingest.splitters.markdown_outline import common
from genkit_rag._ingest.splitters.packing import Packing, Unit, estimated, line_units, pack
from genkit_rag._ingest.splitters.symbols import symbol, wrapped
from genkit_rag._ingest.splitters.text import Splitter

_LEADS = re.compile(r"comment|attribute_item|decorator\b|attribute_list")
"""Nodes that belong to what follows."""
_CLOSERS = frozenset((";", ",", ")", "]", "}", "end"))
_MAX_DEPTH = 100
_MAX_CHARACTERS = 8_000_000
"""A tree takes about a hundred times the memory of its text; a longer text is data, and cut at its lines."""
_MAX_ERRORS = 0.1
"""The share of a text in syntax errors from which on its tree says nothing."""


@dataclass(frozen=True, slots=True)
class CodeSplitter:
    """Splits programs at their syntax: functions and classes stay whole if they fit, others at statements.

    Comments and decorators stay with the following definition. `heading_path` has the enclosing definitions, such as
    `("Stack", "push")`. A language without a grammar, code that does not parse and text of more than 8,000,000
    characters is cut at empty lines and lines; other text is split by `Splitter`. Needs the extra `code`.

    Args:
        size: The maximum size of a chunk.
        count: The unit of `size`. None estimates tokens; `len` counts characters.
    """

    size: int = 240
    count: Count | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        require_extra("code", "tree_sitter")

    def chunks(self, text: str, *, markdown: bool = False, language: str = "") -> Iterator[Chunk]:
        """Yield the chunks in order, without overlap."""
        if not language:
            return Splitter(self.size, 0, self.count).chunks(text, markdown=markdown)
        packing = Packing(self.size, estimated(self.count))
        code = text.encode("utf-8", "replace")  # a lone surrogate becomes one `?`: characters are counted the same
        root = parse(code, language) if len(text) <= _MAX_CHARACTERS else None
        if root is None or _is_broken(root):
            return pack(text, line_units(text, 0, len(text), packing.fits, ()), packing, _path)
        return pack(text, _in_characters(text, code, _Program(code, packing), root), packing, _path)

    def split(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of a text document, a program by its `content_type`; see `Splitter.split`."""
        return split_document(document, self)

    def with_count(self, count: Count | None) -> CodeSplitter:
        """Return a copy that uses `count`, or `self` if a unit is already set."""
        return self if self.count is not None else replace(self, count=count)

    @property
    def settings(self) -> str:
        """What distinguishes this splitter's chunks from another's."""
        return f"code 1: size={self.size} count={function_name(self.count)}"


class _Group(NamedTuple):
    """A node with what leads to it and what closes it, in bytes; a body is led to by its signature."""

    start: int
    end: int
    node: Any
    is_body: bool = False


@dataclass(slots=True)
class _Program:
    """A program that is being cut; offsets are in bytes."""

    code: bytes
    packing: Packing
    apart: bool = False

    def units(self, group: _Group, path: tuple[str, ...], depth: int = 0) -> Iterator[Unit]:
        """Yield contiguous parts: whole nodes if they fit, otherwise their children."""
        start, end, node, is_body = group
        own = (*path, *symbol(node))
        if self._fits(start, end):
            yield self._unit(start, end, own)
            return
        if not is_body and (start, end) != node.byte_range and self._fits(*node.byte_range):
            yield from self._around(group, path, own)
            return
        groups = _groups(node, start, end) if depth < _MAX_DEPTH else []
        if not groups:
            yield self._unit(start, end, own)
            return
        inside = path if wrapped(node) is not None else own
        is_definition = own != path
        self.apart |= is_definition
        for inner in groups:
            yield from self.units(inner, inside, depth + 1)
        self.apart |= is_definition

    def _around(self, group: _Group, path: tuple[str, ...], own: tuple[str, ...]) -> Iterator[Unit]:
        """Yield a node that fits, separated from preceding or closing text that does not."""
        start, end, node, _ = group
        if not self._fits(start, node.end_byte):
            yield self._unit(start, node.start_byte, path)
            start = node.start_byte
        if self._fits(start, end):
            yield self._unit(start, end, own)
        else:
            yield self._unit(start, node.end_byte, own)
            yield self._unit(node.end_byte, end, path)

    def _unit(self, start: int, end: int, path: tuple[str, ...]) -> Unit:
        apart, self.apart = self.apart, False
        return Unit(start, end, apart, path)

    def _fits(self, start: int, end: int) -> bool:
        return self.packing.fits(self.code[start:end].decode("utf-8", "replace").strip())


def _groups(node: Any, start: int, end: int) -> list[_Group]:
    """Return the children of a node as contiguous parts from `start` to `end`; none for a leaf."""
    groups: list[_Group] = []
    begin, row = start, -1
    body = node.child_by_field_name("body")
    inner = body or wrapped(node)  # what stands before it, a signature or a decorator, is no group of its own
    first = inner.start_byte if inner is not None else start
    for child in node.children:
        is_lead = _LEADS.search(child.type) is not None
        behind = groups and (child.type in _CLOSERS or (is_lead and child.start_point.row == row))
        if behind:
            groups[-1] = groups[-1]._replace(end=child.end_byte)
            begin = child.end_byte
        elif child.is_named and not is_lead and child.start_byte >= first:
            groups.append(_Group(begin, child.end_byte, child, child == body))
            begin, row = child.end_byte, child.end_point.row
    if groups:
        groups[-1] = groups[-1]._replace(end=end)
    return groups


def _in_characters(text: str, code: bytes, program: _Program, root: Any) -> Iterator[Unit]:
    """Yield the program's parts by character offsets, without surrounding white space."""
    end = 0
    for unit in program.units(_Group(0, len(code), root), ()):
        start, end = end, end + len(code[unit.start : unit.end].decode("utf-8", "replace"))
        piece = text[start:end]
        kept = piece.strip()
        if not kept:
            program.apart |= unit.apart
            continue
        start += len(piece) - len(piece.lstrip())
        if program.packing.fits(kept):
            yield unit._replace(start=start, end=start + len(kept))
        else:
            yield from line_units(text, start, start + len(kept), program.packing.fits, unit.path)


def _is_broken(root: Any) -> bool:
    """Return whether a large part of the text is not valid in the language."""
    pending, errors = [root], 0
    while pending:
        node = pending.pop()
        if node.type == "ERROR":
            errors += node.end_byte - node.start_byte
        elif node.has_error:
            pending += node.children
    return bool(errors > _MAX_ERRORS * (root.end_byte - root.start_byte))


def _path(units: Sequence[Unit]) -> tuple[str, ...]:
    path = units[0].path
    for unit in units[1:]:
        path = common(path, unit.path)
    return path
