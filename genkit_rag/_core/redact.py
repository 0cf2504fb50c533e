"""Redaction of secrets in spans and logs: a safety net behind code that never writes them.

Found are: values of fields named like a secret (attributes, headers, JSON, keyword arguments, query parameters),
credentials in URLs, authorization schemes, keys of known formats, and values of environment variables of this process
that are named like secrets. Other secrets in free text are not found.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

REDACTED = "[redacted]"

_WORDS = r"api[_-]?key|passw(?:or)?d|passphrase|secret(?:[_-]?(?:access[_-]?)?key)?|private[_-]?key|credentials?"
_TOKENS = r"(?:access|auth|refresh|id|session|bearer|api|x-genkit|x-auth)[_-]?token"
_HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie|x-goog-api-key|x-api-key|x-amz-security-token"

_SECRET_NAME = re.compile(
    rf"(?:^|.*[^a-z0-9])(?:{_WORDS}|{_TOKENS}|{_HEADERS}|token|dsn|pwd)", re.IGNORECASE | re.DOTALL
)
_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PWD|CREDENTIALS?|AUTH|DSN)(?:_|$)", re.IGNORECASE
)
_MIN_VARIABLE_CHARS = 8

# A JSON string, a Python one, a JSON string inside a JSON string (where `\"` ends it and `\\\"` is a quote in it), and
# one deeper still. Possessive: no input makes them go back.
_QUOTED = (
    r'"(?:[^"\\]|\\.)*+"?|'
    r"'(?:[^'\\]|\\.)*+'?|"
    r'\\"(?:[^"\\]|\\\\(?:\\["\\]|[^"\\])|\\[^"\\])*+(?:\\")?|'
    r'\\{2,}"(?:[^"\\]|\\[^"])*+(?:\\+")?'
)
_BARE = r"(?:(?:bearer|basic|token|digest)\s+)?[^\s\"',;&}\])\[{(\\][^\s\"',;&}\])\\]*"

_QUOTE = re.compile(r"b?(\\*[\"'])")

Replacement = str | Callable[[re.Match[str]], str]


def _hide(match: re.Match[str]) -> str:
    """Return the match without its value, keeping its quotes so that JSON stays valid, also inside of a JSON string."""
    own = _QUOTE.match(match["value"])
    quote = own[1] if own else match["quote"] or ""
    return f"{match['name']}{quote}{REDACTED}{quote}"


# The first characters of each pattern in lower case: a substring search is much faster than trying every pattern.
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], Replacement], ...] = (
    (("://",), re.compile(r"(://)[^/\s@\"'<>\\]+@"), rf"\1{REDACTED}@"),
    (
        ("?", "&"),
        re.compile(
            r"([?&](?:key|api[_-]?key|token|[a-z]{1,20}_token|auth|sig|signature|secret|password|pwd|client_secret|"
            r"x-(?:amz|goog)-(?:signature|credential|security-token))=)[^&\s\"'#<>\\]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (
        (
            "api",
            "passw",
            "passphrase",
            "secret",
            "private",
            "credential",
            "access",
            "auth",
            "refresh",
            "id_token",
            "id-token",
            "idtoken",
            "session",
            "bearer",
            "cookie",
            "x-genkit",
            "x-amz-security",
        ),
        re.compile(
            rf"(?P<name>(?:{_WORDS}|{_TOKENS}|{_HEADERS})(?P<quote>\\*[\"'])?\s{{0,8}}(?:[:=]|,(?=\s?b?[\"']))\s{{0,8}})"
            rf"(?!\[redacted\])(?P<value>b?(?:{_QUOTED})|{_BARE})",
            re.IGNORECASE,
        ),
        _hide,
    ),
    (
        ("bearer ", "basic "),
        re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
        rf"\1 {REDACTED}",
    ),
    (
        ("sk-", "aiza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "akia", "hf_", "eyj", "glpat-"),
        re.compile(
            r"\b(?:sk-[\w-]{16,}|AIza[\w-]{30,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abeprs]-[\w-]{10,}|"
            r"AKIA[0-9A-Z]{16}|hf_\w{20,}|glpat-[\w-]{16,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
        ),
        REDACTED,
    ),
    (
        ("-----begin",),
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.S),
        REDACTED,
    ),
)


def redactor(environment: Mapping[str, str] | None = None) -> Callable[[Any], Any]:
    """Create a function that redacts a text, a list or a mapping, with the current environment variables."""
    variables = os.environ if environment is None else environment
    values = {
        value
        for name, value in variables.items()
        if len(value) >= _MIN_VARIABLE_CHARS and _SECRET_VARIABLE.search(name) and not value.startswith(("/", "./"))
    }

    def redact(value: Any) -> Any:
        if isinstance(value, str):
            return redact_text(value, values)
        if isinstance(value, list | tuple):
            return [redact(one) for one in value]
        if isinstance(value, Mapping):
            return {
                redact_text(str(name), values): REDACTED if _names_secret(str(name), one) else redact(one)
                for name, one in value.items()
            }
        return value

    return redact


def redact_text(text: str, values: set[str] | frozenset[str] = frozenset()) -> str:
    """Return the text without secrets and without `values`."""
    if len(text) < 4:
        return text
    for secret in sorted(values, key=len, reverse=True):  # the longest first: one may begin with another
        text = text.replace(secret, REDACTED)
    return _short(text) if len(text) <= _CACHED_CHARS else _by_rules(text)


def _by_rules(text: str) -> str:
    for starts, pattern, replacement in _RULES:
        text = _replace(text, starts, pattern, replacement)
    return text


_CACHED_CHARS = 200
_short = functools.lru_cache(maxsize=4096)(_by_rules)  # names, kinds and paths come again with every span


def _replace(text: str, starts: tuple[str, ...], pattern: re.Pattern[str], replacement: Replacement) -> str:
    lower = text.lower()
    if len(lower) != len(text):  # some letters grow: positions would not fit
        return pattern.sub(replacement, text)
    pieces: list[str] = []
    done = 0
    for at in sorted({at for start in starts for at in _positions(lower, start)}):
        match = pattern.match(text, at) if at >= done else None
        if match is not None:
            pieces += [text[done:at], replacement(match) if callable(replacement) else match.expand(replacement)]
            done = match.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _positions(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


@functools.lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.fullmatch(name) is not None


def _names_secret(name: str, value: Any) -> bool:
    return not isinstance(value, bool | int | float) and _is_secret_name(name[:300])
