"""`llms.txt` and `llms-full.txt` are up to date, complete and small enough for one context window."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def llms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("llms", ROOT / "scripts/llms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> str:
    return (ROOT / "genkit_rag" / name).read_text(encoding="utf-8")


def test_both_files_are_up_to_date(llms: ModuleType) -> None:
    text, _ = llms.full()
    assert read("llms-full.txt") == text, "run `make llms`"
    assert read("llms.txt") == llms.index(), "run `make llms`"


def test_every_public_name_has_an_entry_and_an_example(llms: ModuleType) -> None:
    text, missing = llms.full()
    assert not missing
    entries = set(re.findall(r"^- `(?:await )?([\w.]+)", text, re.MULTILINE))
    for module in llms.MODULES:
        names = importlib.import_module(module if module == "genkit_rag" else f"genkit_rag.{module}").__all__
        assert set(names) - entries == set(), module
    genkit = importlib.import_module("genkit_rag").Genkit
    methods = {f"ai.{name}" for name in dir(genkit) if name[0] != "_" and callable(getattr(genkit, name))}
    assert len(methods) > 40
    assert methods - entries == set()


def test_the_whole_api_fits_into_thirty_thousand_tokens() -> None:
    # Tokenizers of current language models make one token of at least 2.9 characters of Python and English, on average.
    assert len(read("llms-full.txt")) / 2.9 < 30_000


def test_every_linked_page_exists() -> None:
    pages = re.findall(r"\]\(([^)]+)\)", read("llms.txt"))
    assert len(pages) > 40
    assert [page for page in pages if not (ROOT / page).exists() and not (ROOT / "genkit_rag" / page).exists()] == []
