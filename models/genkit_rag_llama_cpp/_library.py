"""Loads llama.cpp so that its threads wait instead of spinning."""

from __future__ import annotations

import os
from typing import Any


def _load() -> Any:
    # Its OpenMP threads spin at every barrier: with one other busy process on two cores an answer took four times as
    # long as with waiting. The policy is read once, when the library is loaded; a choice of the user's stands.
    name = "OMP_WAIT_POLICY"
    given = os.environ.get(name)
    os.environ[name] = given or "PASSIVE"
    try:
        import xllamacpp
    finally:
        if given is None:
            del os.environ[name]
    return xllamacpp


xlc: Any = _load()
"""The module `xllamacpp`, which says nothing of its types."""
