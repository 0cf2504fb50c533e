"""Sentence boundaries: a few rules about punctuation.

A mark ends a sentence unless it follows an abbreviation, an initial or a list number, or precedes a small letter. Empty
lines and list items end one without a mark; Chinese and Japanese marks need no following space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_END = _words(
    "adm approx bzw ca capt cf cmdr cpl d.h dr e.g esp eqs fr ggf gov hon i.e lt maj messrs mr mrs ms mt prof "
    "resp rev sen sgt u.a usf viz vs z.b zb"
)
"""Something follows that belongs to them."""

_BEFORE_NUMBERS = _words(
    "apr art aug ch chap col dec eq eqs feb fig figs jan jul jun mar nos no nov nr oct op p par pp sec sep sept vol "
    "vols"
)
"""No end before a number."""

_MAY_END = _words("a.m b.a bros co corp d.c dept e.u esq etc inc jr ltd m.a m.d p.m ph.d sr st u.k u.n u.s u.s.a usw")
"""The end of one where a sentence seems to begin behind them."""

_STARTERS = _words(
    "a after all although an and another as at because before both but by despite during each even every few for from "
    "further he her here his how however i if in it its later many meanwhile moreover most my nevertheless no not now "
    "on once one only our she since so some such that the their then there therefore these they this those though thus "
    "to today two under until we what when where whether which while who why with yet you your"
)

_ENDS = re.compile(
    r"""(?P<mark>(?<![.!?…])[.!?…]++)(?P<close>["'”’»)\]]*+)(?P<space>\s++|\Z)
      | [。！？｡]++[」』”’）】]*+\s*+
      | \n[ \t\r]*+\n\s*+
      | \n(?=[ \t]*+(?:[-*•+]|\d{1,3}[.)])[ \t])
    """,
    re.VERBOSE,
)
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘«]*\Z")
_WORD_AFTER = re.compile(r"[\"'“‘«(\[]*+(\w*)")
_LONGEST_WORD = 24


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the sentences of a part of a text, without surrounding white space."""
    end = len(text) if end is None else end
    begin = start
    for match in _ENDS.finditer(text, start, end):
        if match["mark"] is not None and not _is_end(text, begin, match):
            continue
        yield from stripped(text, begin, match.end())
        begin = match.end()
    yield from stripped(text, begin, end)


def _is_end(text: str, begin: int, match: re.Match[str]) -> bool:
    """Return whether a mark followed by white space ends the sentence."""
    follower = _WORD_AFTER.match(text, match.end())
    after = follower[1] if follower else ""
    if after[:1].islower():  # "e.g. this", "... and so on", "Why?" he asked
        return False
    if match["mark"] != "." or match["close"]:
        return True
    found = _WORD_BEFORE.search(text, max(begin, match.start() - _LONGEST_WORD), match.start())
    word = found[0] if found else ""
    if len(word) == 1 and word.isupper():  # an initial, and "vitamin C. The ..."
        return after.lower() in _STARTERS and after != "I"
    lower = word.lower()
    if lower in _MAY_END:
        return after.lower() in _STARTERS
    if lower in _NEVER_END or (lower in _BEFORE_NUMBERS and after[:1].isdigit()):
        return False
    is_item = word.isdigit() and len(word) <= 3 and not text[begin : match.start() - len(word)].strip()
    return not is_item  # "1. First" is a list


def stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of a part of a text without surrounding white space; nothing if it is empty."""
    piece = text[start:end]
    kept = piece.strip()
    if kept:
        start += len(piece) - len(piece.lstrip())
        yield start, start + len(kept)
