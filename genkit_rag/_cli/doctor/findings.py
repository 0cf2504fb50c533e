"""What `doctor` has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result.

    Attributes:
        check: The checked thing.
        state: `broken` if the command cannot work without it, `note` if only something optional is missing.
        found: The result; never a key.
        fix: The fix, or None.
    """

    check: str
    state: State
    found: str
    fix: str | None = None
