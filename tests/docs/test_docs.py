"""The documentation is true: its code runs, its commands parse, its links lead somewhere, and nothing public is missing.

A page's Python blocks run in their order, in one namespace, in an empty folder; `await` may stand at the top. A block that
begins with `# file: name` is written to that file instead, and `python name` in a shell block then runs it. An HTML comment
`<!-- setup ... -->` runs in the order in which it stands. On pages of the tutorial the `genkit-rag` commands run too.
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
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import genkit_rag
from genkit_rag import Genkit, MissingExtra, RetrieverOptions
from genkit_rag.plugin_api import ActionKind, Status

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SHELVES = ("genkit_rag", "embedders", "indexers", "retrievers", "rerankers", "models")

_PIECE = re.compile(
    r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```[ \t]*$|^<!-- setup\n(?P<setup>.*?)^-->", re.MULTILINE | re.DOTALL
)
_NEEDS_WEIGHTS = re.compile(r"genkit_rag\.local|genkit_rag_(?:minilm|llama_cpp|late_interaction)")
_FILE = re.compile(r"# file: (\S+)\n")
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True, slots=True)
class Block:
    language: Literal["python", "sh"]
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    for match in _PIECE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        if match["setup"] is not None or match["language"] == "python":
            found.append(Block("python", match["setup"] or match["code"], line))
        elif match["language"] == "sh":
            found.append(Block("sh", match["code"], line))
    return found


def prose(page: Path) -> str:
    """Returns a page without its code."""
    return _INLINE_CODE.sub("", _PIECE.sub("", page.read_text()))


def needs_weights(page: Path) -> bool:
    return page.parent.name == "tutorial" or any(
        _NEEDS_WEIGHTS.search(block.code) for block in blocks(page) if block.language == "python"
    )


# ---- the code runs


def runnable() -> list[Any]:
    return [
        pytest.param(page, id=name, marks=[pytest.mark.weights] if needs_weights(page) else [])
        for page, name in zip(PAGES, NAMES, strict=True)
        if any(block.language == "python" for block in blocks(page))
    ]


@pytest.mark.parametrize("page", runnable())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GENKIT_ENV", "GENKIT_RAG_MODEL", "GENKIT_RAG_DIR"):
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


def commands(command: Any, name: str = "genkit-rag") -> dict[str, Any]:
    """Returns every command of the command line by its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {name: command}
    found: dict[str, Any] = {name: command}
    for child, one in inner.items():
        found |= commands(one, f"{name} {child}")
    return found


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
    for heading in re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*$", _PIECE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        slug = re.sub(r"[-\s]+", "-", text)
        number = 0
        while (unique := slug if not number else f"{slug}_{number}") in found:
            number += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
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
    headings = re.findall(r"^(#+)[ \t]+(.+?)[ \t]*$", _PIECE.sub("", page.read_text()), re.MULTILINE)
    assert [text for marks, text in headings if marks == "#"] == [headings[0][1]]
    texts = [text for _, text in headings]
    assert len(set(texts)) == len(texts)


# ---- nothing public is missing


@pytest.fixture(scope="module")
def documentation() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def missing(names: Any, documentation: str) -> list[str]:
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", documentation)]


def test_every_public_name_is_mentioned(documentation: str) -> None:
    assert missing(genkit_rag.__all__, documentation) == []


def test_every_verb_of_genkit_is_mentioned(documentation: str) -> None:
    verbs = [name for name in dir(Genkit) if not name.startswith("_")]
    assert missing([f"ai.{verb}" for verb in verbs], documentation) == []


def test_every_action_kind_in_use_is_in_the_reference() -> None:
    source = "\n".join(path.read_text() for shelf in SHELVES for path in (ROOT / shelf).rglob("*.py"))
    used = [kind.value for kind in ActionKind if re.search(rf"ActionKind\.{kind.name}\b", source)]
    assert len(used) >= 8
    assert missing(used, (ROOT / "docs/reference/actions.md").read_text()) == []


def test_every_option_is_in_the_reference() -> None:
    from genkit_rag import EmbedderOptions, IndexerOptions, RerankerOptions
    from genkit_rag.ingest import IngestOptions, LoadLimits, Splitter
    from genkit_rag_faiss import FaissOptions

    page = (ROOT / "docs/reference/options.md").read_text()
    for model in (RetrieverOptions, IndexerOptions, RerankerOptions, EmbedderOptions, LoadLimits):
        assert missing([f"`{name}`" for name in model.model_fields], page) == [], model
    for made in (IngestOptions, Splitter):
        assert missing([f"`{name}`" for name in made.__dataclass_fields__], page) == [], made
    generate = inspect.signature(Genkit.generate).parameters
    assert missing([f"`{name}`" for name in generate if name != "self"], page) == []
    store = (ROOT / "docs/reference/store.md").read_text()
    assert missing([f"`{name}`" for name in FaissOptions.model_fields], store) == []


def test_the_parameters_of_every_plugin_are_in_the_reference() -> None:
    from genkit_rag_faiss import Faiss
    from genkit_rag_late_interaction import LateInteraction
    from genkit_rag_llama_cpp import LlamaCpp
    from genkit_rag_memory import Memory
    from genkit_rag_minilm import MiniLM
    from genkit_rag_mmr import MMR
    from genkit_rag_ollama import Ollama
    from genkit_rag_openai import OpenAI

    page = (ROOT / "docs/reference/options.md").read_text()
    for plugin in (Faiss, Memory, MiniLM, LateInteraction, MMR, OpenAI, Ollama, LlamaCpp):
        section = page.partition(f"`{plugin.__name__}(")[2].partition("\n## ")[0].partition("\n### ")[0]
        names = [name for name in inspect.signature(plugin).parameters if name != "options"]
        assert missing([f"`{name}`" for name in names], section) == [], plugin


def test_every_filter_operator_is_in_the_reference() -> None:
    from genkit_rag._blocks.filters import LOGICAL, OPERATORS

    page = (ROOT / "docs/reference/filters.md").read_text()
    assert [operator for operator in (*OPERATORS, *LOGICAL) if f"`{operator}`" not in page] == []


def test_every_status_is_in_the_reference_with_its_http_code() -> None:
    from genkit_rag._core.errors import HTTP_CODES

    page = (ROOT / "docs/reference/errors.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", page, re.MULTILINE))
    assert {name: int(code) for name, code in rows.items()} == {
        name: code for name, code in HTTP_CODES.items() if name in Status.__args__ and name != "OK"
    }


def test_every_command_and_option_is_in_the_reference(cli: Any) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    for name, command in commands(cli).items():
        assert f"## `{name}`" in page or f"### `{name}`" in page or hasattr(command, "commands"), name
        options = {longest for parameter in command.params for longest in parameter.opts if longest.startswith("--")}
        assert [option for option in options - {"--help"} if f"`{option}`" not in page] == [], name


def test_every_extra_is_mentioned(documentation: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert missing([f"`{extra}`" for extra in extras], documentation) == []


def test_the_weights_are_in_the_reference_with_their_licences() -> None:
    from genkit_rag._weights.manifest import MANIFEST

    page = (ROOT / "docs/reference/models-and-weights.md").read_text()
    for weights in MANIFEST.values():
        row = re.search(rf"^\| `{re.escape(weights.name)}` \|.*$", page, re.MULTILINE)
        assert row, weights.name
        assert f"{weights.size:,}" in row[0]
        assert weights.licence in row[0]
