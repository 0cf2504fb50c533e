"""The architecture page describes the packages and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")


def test_every_package_has_a_row() -> None:
    packages = {path.name for path in (ROOT / "genkit_rag").glob("_*") if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `(_\w+)` \|", PAGE, re.MULTILINE)) == packages


def test_every_file_of_the_three_paths_exists() -> None:
    files = re.findall(r"^\| \d \| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(files) >= 15
    assert [file for file in files if not (ROOT / file).is_file()] == []
