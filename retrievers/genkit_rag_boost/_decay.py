"""How relevance fades with age."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genkit_rag.plugin_api import MISSING, get_field, invalid

MILLISECONDS_FROM = 1e11
"""Numbers from here on are milliseconds: as seconds they would lie beyond the year 5138."""


@dataclass(frozen=True)
class Decay:
    """Decays scores with age: by `weight` x 50 % at the age `half_life`.

    With a the age in half-lives, the remaining share is: `exponential` 0.5^a; `gaussian` 0.5^(a^2), slower at first and
    then faster; `linear` 1 - a/2, zero from two half-lives on. The factor is `1 - weight + weight * share`.

    Args:
        field: The metadata field with the date: an ISO 8601 date or time (UTC without a zone), or seconds, or
            milliseconds, since
            1970.
        half_life: The age, as a timedelta or in days, at which half remains.
        shape: `exponential`, `gaussian` or `linear`.
        weight: The maximum reduction by age, in [0, 1].
        missing: The remaining share of a document without a valid date, in [0, 1].
    """

    field: str
    half_life: datetime.timedelta | float
    shape: Literal["exponential", "gaussian", "linear"] = "exponential"
    weight: float = 1.0
    missing: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise invalid("half_life", self.half_life, "must be a time above 0", hint="A number is days.")
        if self.shape not in ("exponential", "gaussian", "linear"):
            raise invalid("shape", self.shape, "must be one of exponential, gaussian, linear")
        for name in ("weight", "missing"):
            if not 0 <= getattr(self, name) <= 1:
                raise invalid(name, getattr(self, name), "must be in [0, 1]")

    @property
    def seconds(self) -> float:
        """The half-life in seconds."""
        given = self.half_life
        return given.total_seconds() if isinstance(given, datetime.timedelta) else given * 86_400.0

    def factor(self, metadata: Mapping[str, Any], now: float) -> tuple[float, bool]:
        """Return the factor for a document at a time (in seconds since 1970), and whether its date was invalid.

        A date in the future has the age 0.
        """
        value = get_field(metadata, self.field)
        moment = None if value is MISSING or value is None else timestamp(value)
        remains = self.missing if moment is None else self.remains(max(now - moment, 0.0))
        return 1.0 - self.weight + self.weight * remains, moment is None and value is not MISSING and value is not None

    def remains(self, age: float) -> float:
        """Return the remaining share at an age in seconds, in [0, 1]."""
        halves = age / self.seconds
        if self.shape == "linear":
            return max(1.0 - 0.5 * halves, 0.0)
        return float(0.5 ** min(halves if self.shape == "exponential" else halves * halves, 1e4))


def timestamp(value: Any) -> float | None:
    """Parse a date to seconds since 1970; None if it is invalid."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if abs(value) > 1e15 or not math.isfinite(value):
            return None
        return float(value) / (1000.0 if abs(value) >= MILLISECONDS_FROM else 1.0)
    try:
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.strip())
        elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            value = datetime.datetime.combine(value, datetime.time())
        if not isinstance(value, datetime.datetime):
            return None
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
