"""What `doctor` has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result.

    Attributes:
        check: What was looked at.
        state: `broken` when the command cannot do its work without it, `note` when only something optional is missing.
        found: What was found; never a key.
        fix: What to do; None when there is nothing to do.
    """

    check: str
    state: State
    found: str
    fix: str | None = None
