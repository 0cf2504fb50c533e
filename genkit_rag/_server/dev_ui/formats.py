"""How values are shown: durations, times, numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MAX_SHOWN = 200_000
"""Characters of one value on a page; the raw JSON is an export away."""


def duration(milliseconds: float | None) -> str:
    """Format a duration with at most three digits: `0.4 ms`, `12 ms`, `1.24 s`, `2 m 05 s`."""
    if milliseconds is None:
        return "—"
    if milliseconds < 10:
        return f"{milliseconds:.2f}".rstrip("0").rstrip(".") + " ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} m {seconds:02} s"


def moment(milliseconds: float) -> str:
    """Format epoch milliseconds as ISO 8601 in UTC; a script converts it to local time."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return "—"


def clock(milliseconds: float) -> str:
    """Format epoch milliseconds for people, to the second in UTC, as long as the script's local form."""
    return moment(milliseconds)[:19].replace("T", " ")


def number(value: float | None) -> str:
    """Format a count with thin spaces between thousands."""
    return "—" if value is None else f"{value:,}".replace(",", "\u2009")


def score(value: float | None) -> str:
    """Format a score with four decimals."""
    return "—" if value is None else f"{value:.4f}"


def pretty(value: Any) -> str:
    """Format a value as indented JSON, cut at the length that a page can show."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}\n… cut at {MAX_SHOWN} characters"


def short_id(value: str) -> str:
    """Return the first eight characters of an id."""
    return value[:8]


FILTERS: dict[str, Callable[..., str]] = {
    "duration": duration,
    "moment": moment,
    "clock": clock,
    "number": number,
    "score": score,
    "pretty": pretty,
    "short_id": short_id,
}
