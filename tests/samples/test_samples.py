"""Each sample runs as its README says, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.weights


def run(sample: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "samples" / sample / "main.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning:genkit_rag"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hello_world_answers_from_the_right_sentence(tmp_path: Path) -> None:
    out = run("hello_world", cwd=tmp_path)
    answer, source = out.split("From: ")
    assert "two years" in answer.lower()
    assert source.startswith("The warranty covers two years")


def test_rag_embeds_a_folder_once_and_answers_from_it(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "bridge.md").write_text("# Bridge\n\n## Tolls\n\nCrossing costs four euros for a car.\n")
    (tmp_path / "notes" / "ferry.md").write_text("# Ferry\n\nThe ferry leaves every hour and takes bicycles.\n")
    first = run("rag", "notes", "How much does it cost to cross by car?", cwd=tmp_path)
    assert first.splitlines()[1].split()[1] == "notes/bridge.md"
    assert "0 files unchanged" in first
    sentences = ("Crossing costs four euros for a car. [1]", "The ferry leaves every hour and takes bicycles. [2]")
    assert any(sentence in first for sentence in sentences)
    second = run("rag", "notes", "When does the ferry leave?", cwd=tmp_path)
    assert second.startswith("0 chunks embedded, 2 files unchanged")


def test_tool_calling_runs_both_tools_and_answers(tmp_path: Path) -> None:
    out = run("tool_calling", cwd=tmp_path)
    assert "-> search_handbook" in out
    assert "-> order_status" in out
    assert "Returns are free within thirty days." in out.splitlines()[-1]
    assert "sent on Monday" in out.splitlines()[-1]


def test_agentic_rag_searches_for_each_question_and_cites_the_own_shops_pages(tmp_path: Path) -> None:
    out = run("agentic_rag", cwd=tmp_path)
    assert out.count("-> search_handbook(") == 2
    assert "Returns are free within thirty days. [" in out
    assert "five euros" not in out
    assert [line.split("] ")[1] for line in out.splitlines()[-2:]] == ["page 5", "page 9"]
