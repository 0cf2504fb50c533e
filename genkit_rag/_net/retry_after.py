"""How long a server asks to be left alone."""

from __future__ import annotations

import email.utils
import math
import time


def retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After header (seconds or HTTP date), at least 0; None when it says nothing."""
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
