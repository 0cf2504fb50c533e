"""The rules of the house, read from the source."""

from __future__ import annotations

import ast
import importlib
import statistics
import subprocess
import sys
import tomllib
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "genkit_rag"
SHELVES = ("embedders", "indexers", "retrievers", "rerankers", "models")
PLUGINS = sorted(
    path.parent for shelf in SHELVES for path in (ROOT / shelf).glob("*/__init__.py") if path.parent.name[0] != "."
)
DOORS = (
    "genkit_rag",
    *sorted(
        f"genkit_rag.{path.stem}"
        for path in HOUSE.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    ),
)
SOURCES = sorted(path for folder in (HOUSE, *PLUGINS) for path in folder.rglob("*.py"))

# The layers from the bottom up: each imports only those before it in its row.
MAY_IMPORT = {
    "_core": {"_core"},
    "_net": {"_core"},
    "_documents": {"_core"},
    "_weights": {"_core"},
    "_rag": {"_core", "_documents"},
    "_generation": {"_core", "_net", "_documents", "_rag"},
    "_evaluation": {"_core", "_documents", "_rag", "_generation"},
    "_plugin_kit": {"_core", "_net", "_documents", "_rag", "_generation"},
    "_ingest": {"_core", "_net", "_documents", "_rag"},
    "_server": {"_core", "_net", "_documents", "_rag", "_generation", "_evaluation"},
    "_config": {"_core", "_rag"},
    "_ai": {"_core", "_net", "_documents", "_rag", "_generation", "_evaluation", "_ingest", "_server", "_config"},
}
EVERYTHING_PRIVATE = set(MAY_IMPORT)

HEAVY = (
    "numpy",
    "httpx",
    "faiss",
    "onnxruntime",
    "tantivy",
    "opentelemetry.sdk",
    "starlette",
    "uvicorn",
    "typer",
    "rich",
    "torch",
    "pytest",
    "tokenizers",
    "sentence_transformers",
    "xllamacpp",
    "filelock",
    "platformdirs",
    "jsonschema",
    "chromadb",
    "psycopg",
    "tree_sitter",
    "docx",
    "pptx",
    "python_calamine",
    "protego",
    "defusedxml",
    "yaml",
    "dotpromptz_handlebars",
    "websockets",
    "jinja2",
    "google.protobuf",
    "h11",
    "opentelemetry.proto",
)

LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
WIDE_FUNCTIONS = {
    "genkit_rag/_core/action.py:__init__",  # the one record of what an action is
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), relative(path))


def imports(path: Path, *, at_import_only: bool = False) -> Iterator[str]:
    """The full names that a file imports; `from a import b` counts as `a.b`."""
    module = tree(path)
    nodes: list[ast.AST] = list(ast.walk(module))
    if at_import_only:
        lazy = {
            id(inner)
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            for inner in ast.walk(node)
        }
        nodes = [node for node in nodes if id(node) not in lazy]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- rule 1: imports point one way


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_a_layer_imports_only_the_layers_below_it(layer: str) -> None:
    allowed = {layer, *MAY_IMPORT[layer]}
    wrong = [
        f"{relative(path)} imports {name}"
        for path in (HOUSE / layer).rglob("*.py")
        for name in imports(path)
        if name.startswith("genkit_rag.") and name.split(".")[1] not in allowed
    ]
    assert not wrong


def test_doors_import_no_command_line_and_nothing_imports_the_command_line() -> None:
    others = [path for path in SOURCES if "_cli" not in path.parts]
    assert not [relative(path) for path in others if any(n.startswith("genkit_rag._cli") for n in imports(path))]


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Imports in functions and under `TYPE_CHECKING` count: they hide a circle, they do not break it."""
    names = {_module_name(path): path for path in SOURCES}
    graph = {name: _needs(path, names) - {name} for name, path in names.items()}
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    while tops := graph.keys() - {need for needs in graph.values() for need in needs}:
        graph = {name: needs for name, needs in graph.items() if name not in tops}
    assert not graph, f"circles among: {sorted(graph)}"


def _needs(path: Path, names: dict[str, Path]) -> set[str]:
    """Return the modules that a module imports; the package of a name counts if the name is not a module."""
    return {found if found in names else found.rpartition(".")[0] for found in imports(path)} & names.keys()


def _module_name(path: Path) -> str:
    base = (
        ROOT if path.is_relative_to(HOUSE) else next(folder.parent for folder in PLUGINS if path.is_relative_to(folder))
    )
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_framework_knows_no_plugin() -> None:
    plugins = {path.name for path in PLUGINS}
    # `local` bundles plugins, the command line opens them: these two are the only ones that may name any.
    knowing = [path for path in HOUSE.rglob("*.py") if path.name != "local.py" and "_cli" not in path.parts]
    assert not [relative(p) for p in knowing if any(name.split(".")[0] in plugins for name in imports(p))]


# -- rule 2: a plugin imports the plugins' door and its own library


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_the_plugin_door_only_and_no_other_plugin(plugin: Path) -> None:
    others = {path.name for path in PLUGINS} - {plugin.name}
    for path in plugin.rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in others, f"{relative(path)} imports {name}"
            assert top != "genkit_rag" or name.startswith("genkit_rag.plugin_api."), f"{relative(path)}: {name}"


# -- rule 3: doors say exactly what is there


def test_every_package_says_that_it_is_typed() -> None:
    assert [path.name for path in (HOUSE, *PLUGINS) if not (path / "py.typed").is_file()] == []


def test_every_plugin_has_an_extra_of_its_name() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {path.name.removeprefix("genkit_rag_").replace("_", "-") for path in PLUGINS}
    assert names - set(extras) == set()


def test_every_module_of_a_plugin_is_private() -> None:
    modules = [path.relative_to(folder) for folder in PLUGINS for path in folder.rglob("*.py")]
    assert [module for module in modules if not module.parts[0].startswith("_")] == []


@pytest.mark.parametrize("door", [*DOORS, *(path.name for path in PLUGINS)])
def test_all_is_exactly_what_a_door_has(door: str) -> None:
    try:
        module = importlib.import_module(door)
    except ImportError as error:
        if type(error).__name__ != "MissingExtra":
            raise
        pytest.skip(str(error))
    for name in module.__all__:
        getattr(module, name)  # some names are loaded on first use
    there = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (name in module.__all__ or not isinstance(value, types.ModuleType))
        # What a plugin needs to say that its engine is missing is not its own.
        and (door.split(".")[0] == "genkit_rag" or getattr(value, "__module__", door).startswith(door))
    }
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert there == set(module.__all__)


# -- rule 4: importing costs nothing


def test_importing_the_framework_loads_no_heavy_library_starts_no_thread_and_opens_no_socket() -> None:
    loaded = run(
        "import socket, sys, threading\n"
        "def refuse(*args, **kwargs): raise AssertionError('a socket was opened')\n"
        "socket.socket.__init__ = refuse\n"
        "import genkit_rag._exports, genkit_rag.plugin_api\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "print(*sys.modules)"
    ).split()
    assert "genkit_rag.plugin_api" in loaded
    assert not set(HEAVY) & set(loaded)


def _extra_of(plugin: Path) -> str:
    return plugin.name.removeprefix("genkit_rag_").replace("_", "-")


ENGINES = {
    "faiss": ("faiss", "tantivy", "filelock"),
    "minilm": ("onnxruntime", "tokenizers"),
    "openai": ("httpx",),
    "ollama": ("httpx",),
    "llama-cpp": ("xllamacpp",),
    "sentence-transformers": ("sentence_transformers",),
    "cross-encoder": ("sentence_transformers",),
    "late-interaction": ("onnxruntime", "tokenizers"),
    "wrapped": ("filelock",),
    "chroma": ("chromadb",),
    "pgvector": ("psycopg",),
    "http-rerank": ("httpx",),
}


@pytest.mark.parametrize(
    ("plugin", "engine"),
    [
        pytest.param(plugin.name, engine, id=f"{_extra_of(plugin)}-{engine}")
        for plugin in PLUGINS
        for engine in ENGINES.get(_extra_of(plugin), ())
    ],
)
def test_a_missing_engine_says_which_command_installs_it(plugin: str, engine: str) -> None:
    said = run(
        "import importlib, sys\n"
        "plugin, engine = sys.argv[1:]\n"
        "sys.modules[engine] = None\n"
        "try:\n"
        "    module = importlib.import_module(plugin)\n"
        "    for name in module.__all__: getattr(module, name)\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error)\n",
        plugin,
        engine,
    )
    extra = plugin.removeprefix("genkit_rag_").replace("_", "-")
    assert said.startswith("MissingExtra"), said
    assert f'pip install "genkit-rag[{extra}]"' in said


# -- rule 5: small units, and nothing that runs data


def test_files_are_under_four_hundred_lines() -> None:
    long = {relative(path) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 400}
    assert long == LONG_FILES


def test_a_folder_has_at_most_twenty_modules() -> None:
    counts = Counter(relative(path.parent) for path in SOURCES)
    assert {folder: count for folder, count in counts.items() if count > 20} == {}


def test_half_of_the_files_are_under_one_hundred_and_thirty_lines() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES if path.name != "__init__.py"]
    assert statistics.median(lengths) < 130


def test_functions_are_under_fifty_lines_of_code_and_take_at_most_eight_parameters() -> None:
    long, wide = set(), set()
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                command = "_cli" in path.parts  # a command's parameters are its options
                name = f"{relative(path)}:{node.name}"
                if _code_lines(node) > 50:
                    long.add(name)
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if not command and len([a for a in arguments if a.arg not in ("self", "cls")]) > 8:
                    wide.add(name)
    assert (long, wide) == (LONG_FUNCTIONS, WIDE_FUNCTIONS)


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_nothing_unpickles_or_evaluates_data() -> None:
    for path in SOURCES:
        assert not {name.split(".")[0] for name in imports(path)} & {"pickle", "cPickle", "dill", "marshal", "shelve"}
        called = {
            node.func.id
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"eval", "exec"}, relative(path)
