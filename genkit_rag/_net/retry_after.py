"""How long a server asks to be left alone."""

from __future__ import annotations

import email.utils
import math
import time


def retry_after(header: str | None) -> float | None:
    """Parse a Retry-After header (seconds or HTTP date) to seconds of at least 0; None if it is invalid."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
