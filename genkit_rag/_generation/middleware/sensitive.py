"""Detection of secrets and personal data in text, in time proportional to the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

Span = tuple[int, int]
Finder = Callable[[str], Iterable[Span]]
"""Yields `(start, end)` of each match."""

_EMAIL = r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"
_PRIVATE_KEY = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)"
# Formats that providers document or that secret scanners detect.
_API_KEY = "|".join(
    (
        r"(?<![A-Za-z0-9])(?:"
        r"sk-[\w-]{16,}",
        r"[srp]k_(?:live|test)_\w{16,}",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"gh[pousr]_\w{36,}",
        r"github_pat_\w{22,}",
        r"glpat-[\w-]{20,}",
        r"AIza[\w-]{35}",
        r"ya29\.[\w-]{20,}",
        r"xox[abeoprs]-[\w-]{10,}",
        r"xapp-[\w-]{10,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[\w-]{32,}",
        r"SG\.[\w-]{16,}\.[\w-]{16,}",
        r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
        r"(?i:bearer)\s{1,4}[\w.~+/-]{19,}[\w~+/-]=*)",
    )
)
_PHONE = "|".join(
    (
        r"(?<![\w+])(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){6,14}(?!\w)",  # international, E.164
        r"(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\w)",  # North America
        r"(?<![\w.+-])0[1-9](?:[ .-]\d\d){4}(?!\w)",  # France
        # A national number with area code; it has two digits or more after the zero, because 01/02/2024 is a date.
        r"(?<![\w.+-])(?:\(0\d{2,5}\)|0\d{2,5}(?=[ /-]))(?=(?:[ /-]{0,2}\d){6})(?:[ /-]{0,2}\d{2,8}){1,4}(?!\w)",
    )
)
_DIGIT_GROUPS = re.compile(r"(?<![\w])\d+(?:[ -]\d+)*(?!\w)")
_WORD = re.compile(r"[A-Za-z0-9]+")
_CARD_LENGTHS = (16, 15, 14, 19, 13, 18, 17)
"""Lengths of card numbers, the most common ones first, for numbers next to other digits."""

_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}))")


def by_pattern(pattern: str | re.Pattern[str]) -> Finder:
    """Create a finder from a regular expression."""
    compiled = re.compile(pattern)
    return lambda text: (found.span() for found in compiled.finditer(text) if found.end() > found.start())


def cards(text: str) -> Iterator[Span]:
    """Yield numbers of 13 to 19 digits, in groups or not, with a valid check digit (Luhn, ISO/IEC 7812-1)."""
    for run in _DIGIT_GROUPS.finditer(text):
        groups = [(found.start(), found.end()) for found in re.finditer(r"\d+", run[0])]
        at = 0
        while at < len(groups):
            last = _card_from(run[0], groups, at)
            if last is not None:
                yield run.start() + groups[at][0], run.start() + groups[last][1]
                at = last
            at += 1


def _card_from(text: str, groups: list[Span], first: int) -> int | None:
    """Return the last group of a card number that begins at group `first`; None without such a number."""
    digits = ""
    found: dict[int, int] = {}
    for at in range(first, min(len(groups), first + max(_CARD_LENGTHS))):
        digits += text[groups[at][0] : groups[at][1]]
        if len(digits) > max(_CARD_LENGTHS) or digits[0] not in "23456":
            break
        if len(digits) in _CARD_LENGTHS and luhn(digits):
            found[len(digits)] = at
    return next((found[length] for length in _CARD_LENGTHS if length in found), None)


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[::-2])) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """Yield account numbers with valid check digits (ISO 13616, ISO 7064 MOD 97-10)."""
    free = 0
    for found in _IBAN.finditer(text):
        if found.start() < free:
            continue
        # The IBAN may be followed by other words; take the longest word-aligned prefix with a valid checksum.
        for word in reversed(list(_WORD.finditer(text, found.start(), found.end(1)))):
            if word.end() - found.start() < 15:
                break
            if not text[word.end() : word.end() + 1].isalnum() and _is_iban(text[found.start() : word.end()]):
                free = word.end()
                yield found.start(), free
                break


def _is_iban(candidate: str) -> bool:
    plain = candidate.replace(" ", "").replace("-", "")
    if not 15 <= len(plain) <= 34 or not plain.isascii():
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


FINDERS: Mapping[str, Finder] = {
    "private_key": by_pattern(_PRIVATE_KEY),
    "api_key": by_pattern(_API_KEY),
    "email": by_pattern(_EMAIL),
    "iban": ibans,
    "card": cards,
    "phone": by_pattern(_PHONE),
}
"""The built-in finders by name; the first one names overlapping matches."""


def find(text: str, finders: Mapping[str, Finder]) -> list[tuple[int, int, str]]:
    """Return the matches as `(start, end, name)`; overlapping matches are merged and named by the first finder."""
    order = {name: number for number, name in enumerate(finders)}
    merged: list[tuple[int, int, str]] = []
    for start, end, name in sorted((s, e, name) for name, finder in finders.items() for s, e in finder(text)):
        if merged and start < merged[-1][1]:
            before = merged[-1]
            merged[-1] = (before[0], max(end, before[1]), min(before[2], name, key=order.__getitem__))
        else:
            merged.append((start, end, name))
    return merged
