"""The documentation is true: its code runs, its commands are accepted, its links lead somewhere.

A page's Python blocks run in order, in one namespace, in an empty folder; `await` may stand at the top. A block that
begins with `# file: name` is written to that file instead; `python name` or `python -m pytest name` in a shell block
then runs it. A comment `<!-- setup ... -->` runs where it stands. In the tutorial the `genkit-rag` commands run too.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Genkit, MissingExtra
from tests.docs.pages import NAMES, PAGES, ROOT, Block, blocks, without_code

_NEEDS_WEIGHTS = re.compile(r"genkit_rag\.local|genkit_rag_(?:minilm|llama_cpp|late_interaction)")
_FILE = re.compile(r"# file: (\S+)\n")
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_SERVERS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GENKIT_ENV", "GENKIT_RAG_MODEL", "GENKIT_RAG_DIR")


# ---- the code runs


def needs_weights(page: Path) -> bool:
    return page.parent.name == "tutorial" or any(
        _NEEDS_WEIGHTS.search(block.code) for block in blocks(page) if block.language == "python"
    )


def runnable() -> list[Any]:
    return [
        pytest.param(page, id=name, marks=[pytest.mark.weights] if needs_weights(page) else [])
        for page, name in zip(PAGES, NAMES, strict=True)
        if any(block.language == "python" for block in blocks(page))
    ]


@pytest.mark.parametrize("page", runnable())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in _SERVERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    namespace: dict[str, Any] = {"__name__": "page"}
    with asyncio.Runner() as runner:
        try:
            for block in blocks(page):
                if block.language == "sh":
                    run_shell(block, tutorial=page.parent.name == "tutorial")
                elif named := _FILE.match(block.code):
                    Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
                    Path(named[1]).write_text(block.code)
                else:
                    run_python(page, block, namespace, runner)
        except MissingExtra as error:
            pytest.skip(str(error))
        finally:
            for value in namespace.values():
                if isinstance(value, Genkit):
                    runner.run(value.close())


def run_python(page: Path, block: Block, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    """Runs a block; without an `await` outside of any event loop, so that it may start one itself."""
    tree = ast.increment_lineno(ast.parse(block.code), block.line - 1)
    code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, namespace)
        return

    async def run() -> None:
        await eval(code, namespace)

    runner.run(run())


def run_shell(block: Block, *, tutorial: bool) -> None:
    """Runs the scripts that the page has written, and in a tutorial the command as well."""
    for arguments in command_lines(block.code):
        if arguments[0] == "python" and Path(arguments[-1]).is_file():
            command = [sys.executable, *arguments[1:]]
        elif arguments[0] == "genkit-rag" and tutorial:
            command = [sys.executable, "-c", "from genkit_rag._cli import main; main()", *arguments[1:]]
        else:
            continue
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=dict(os.environ))
        assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"


def command_lines(code: str) -> Iterator[list[str]]:
    """Yields the arguments of each simple command; pipes, lists, redirections and comments are taken apart."""
    for line in code.replace("\\\n", " ").splitlines():
        for words in _simple_commands(line):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield words


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if word and set(word) <= set("|&;"):
            yield words
            words, redirected = [], False
        elif word and set(word) <= set("<>"):
            redirected = True
        elif not redirected:
            words.append(word)
    yield words


# ---- the commands exist


@pytest.fixture(scope="module")
def cli() -> Any:
    typer = pytest.importorskip("typer")
    from genkit_rag._cli.app import app

    return typer.main.get_command(app)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_line_is_accepted(page: Path, cli: Any) -> None:
    for block in blocks(page):
        if block.language != "sh":
            continue
        for words in command_lines(block.code):
            if words[0] != "genkit-rag":
                continue
            command, name, rest = cli, words[0], words[1:]
            while rest and rest[0] in (getattr(command, "commands", None) or {}):
                command, name, rest = command.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
            if rest in (["--help"], ["--version"]):
                continue
            try:
                command.make_context(name, list(rest))
            except Exception as error:
                told = getattr(error, "format_message", lambda error=error: repr(error))()
                pytest.fail(f"{page}:{block.line}: {shlex.join(words)}: {told}")


# ---- the links lead somewhere


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as mkdocs makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*$", without_code(page), re.MULTILINE):
        text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        slug = re.sub(r"[-\s]+", "-", text)
        number = 0
        while (unique := slug if not number else f"{slug}_{number}") in found:
            number += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(_INLINE_CODE.sub("", without_code(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target} does not exist"
        if page.is_relative_to(ROOT / "docs"):
            assert linked.is_relative_to(ROOT / "docs"), f"{page.name}: {target} is not part of the site"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: no heading {target}; there are {sorted(anchors(linked))}"


def test_every_page_is_in_the_navigation() -> None:
    yaml = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w/-]+\.md", yaml))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_has_one_title_and_no_heading_twice(page: Path) -> None:
    headings = re.findall(r"^(#+)[ \t]+(.+?)[ \t]*$", without_code(page), re.MULTILINE)
    assert [text for marks, text in headings if marks == "#"] == [headings[0][1]]
    texts = [text for _, text in headings]
    assert len(set(texts)) == len(texts)
