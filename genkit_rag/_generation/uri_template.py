"""URI templates: `docs://{shelf}/{+path}` to the values in a URI (a part of RFC 6570)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from genkit_rag._core.errors import GenkitError, invalid

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"\+?[A-Za-z_]\w*|[A-Za-z_]\w*\*", re.ASCII)
_BOUNDS = frozenset("/?#")


class UriTemplate:
    """A URI with holes: `{name}` takes one segment, `{+name}` or `{name*}` takes the rest, slashes included.

    Matching looks for the fixed pieces one after another and never goes back, so it is linear in the length of the URI
    whatever the template. That is exact because there is one rest at most, and text between two holes.

    Attributes:
        text: The template as it was written.
        names: The names of the holes, in their order.
    """

    __slots__ = ("_fixed", "_rest", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _EXPRESSION.split(text)
        self._fixed, holes = pieces[::2], pieces[1::2]
        self.names = [hole.strip("+*") for hole in holes]
        rests = [number for number, hole in enumerate(holes) if hole != self.names[number]]
        self._rest = rests[0] if rests else None
        if any(character in piece for piece in self._fixed for character in "{}"):
            raise invalid("template", text, "has a brace without its partner")
        wrong = [hole for hole in holes if not _VARIABLE.fullmatch(hole)]
        if wrong:
            raise invalid(
                "template",
                text,
                f"has the hole `{{{wrong[0]}}}`, which is none that we know",
                hint="Write `{name}` for one segment, `{+name}` or `{name*}` for the rest.",
            )
        if len(set(self.names)) < len(holes) or len(rests) > 1 or "" in self._fixed[1:-1]:
            raise invalid(
                "template",
                text,
                "can be matched in more than one way",
                hint="Use each name once, one `{+rest}` at most, and text between two holes.",
            )

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the percent-decoded values by name; None if the URI does not match."""
        fixed = self._fixed
        if len(fixed) == 1:
            return {} if uri == fixed[0] else None
        start, end = len(fixed[0]), len(uri) - len(fixed[-1])
        if start >= end or not uri.startswith(fixed[0]) or not uri.endswith(fixed[-1]):
            return None
        split = len(self.names) - 1 if self._rest is None else self._rest
        raw: list[str] = []
        for piece in fixed[1 : split + 1]:
            found = uri.find(piece, start + 1, end)
            if found < 0:
                return None
            raw.append(uri[start:found])
            start = found + len(piece)
        tail: list[str] = []
        for piece in reversed(fixed[split + 1 : -1]):
            found = uri.rfind(piece, start + 1, end - 1)
            if found < 0:
                return None
            tail.insert(0, uri[found + len(piece) : end])
            end = found
        return self._values([*raw, uri[start:end], *tail])

    def _values(self, raw: list[str]) -> dict[str, str] | None:
        for number, value in enumerate(raw):
            if not value or (number != self._rest and not _BOUNDS.isdisjoint(value)):
                return None
        try:
            return {name: unquote(value, errors="strict") for name, value in zip(self.names, raw, strict=True)}
        except UnicodeDecodeError:
            return None


def exact_uri(uri: str) -> UriTemplate:
    """Return the template of one URI; INVALID_ARGUMENT if it has variables."""
    if "{" in uri or "}" in uri:
        raise GenkitError("INVALID_ARGUMENT", f"`uri` has holes, got {uri!r}.", hint="Pass it as `template=`.")
    return UriTemplate(uri)
