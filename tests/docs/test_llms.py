"""`llms.txt` and `llms-full.txt` are up to date, complete and small enough for one context window."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

from genkit_rag import Genkit

ROOT = Path(__file__).parents[2]
MODULES = ("middleware", "ingest", "evaluation", "testing", "plugin_api")


def read(name: str) -> str:
    return (ROOT / "genkit_rag" / name).read_text(encoding="utf-8")


def test_both_files_are_up_to_date_and_every_name_has_an_example() -> None:
    command = [sys.executable, "scripts/llms.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_has_an_entry() -> None:
    entries = set(re.findall(r"^- `(?:await )?([\w.]+)", read("llms-full.txt"), re.MULTILINE))
    for module in ("genkit_rag", *(f"genkit_rag.{name}" for name in MODULES)):
        assert set(importlib.import_module(module).__all__) - entries == set(), module
    methods = {f"ai.{name}" for name in dir(Genkit) if name[0] != "_" and callable(getattr(Genkit, name))}
    assert len(methods) > 40
    assert methods - entries == set()


def test_the_whole_api_fits_into_thirty_thousand_tokens() -> None:
    # Tokenizers of current language models make one token of at least 2.9 characters of Python and English, on average.
    assert len(read("llms-full.txt")) / 2.9 < 30_000


def test_every_linked_page_exists() -> None:
    pages = re.findall(r"\]\(([^)]+)\)", read("llms.txt"))
    assert len(pages) > 40
    assert [page for page in pages if not (ROOT / page).exists() and not (ROOT / "genkit_rag" / page).exists()] == []
