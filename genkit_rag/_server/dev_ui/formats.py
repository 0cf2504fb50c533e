"""How values are shown: durations, times, numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MAX_SHOWN = 200_000
"""Characters of one value on a page; the raw JSON is an export away."""


def duration(milliseconds: float | None) -> str:
    """Returns a duration with three digits at most: `0.4 ms`, `12 ms`, `1.24 s`, `2 m 05 s`."""
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
    """Returns a time of epoch milliseconds as ISO 8601 in UTC, which a script makes local."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return "—"


def clock(milliseconds: float) -> str:
    """Returns the same time as people read it, to the second and in UTC: as long as what the script makes of it."""
    return moment(milliseconds)[:19].replace("T", " ")


def number(value: float | None) -> str:
    """Returns a count with thin spaces between its thousands."""
    return "—" if value is None else f"{value:,}".replace(",", "\u2009")


def score(value: float | None) -> str:
    """Returns a score with four digits behind the point."""
    return "—" if value is None else f"{value:.4f}"


def pretty(value: Any) -> str:
    """Returns a value as indented JSON, cut where it is longer than a page bears."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}\n… cut at {MAX_SHOWN} characters"


def short_id(value: str) -> str:
    """Returns the first eight characters of an id."""
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
