"""Write `genkit_rag/llms.txt` and `genkit_rag/llms-full.txt`: the public API for coding agents.

Run it with `make llms`. `llms.txt` lists the documentation pages. `llms-full.txt` has every public name with its
signature, the first paragraph of its docstring and one example, in under 30,000 tokens. Signatures and summaries come
from the source, examples from code that the tests run: documentation, samples, plugins, tests.
`tests/docs/test_llms.py` checks that both files are up to date and complete.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
MODULES = ("genkit_rag", "middleware", "ingest", "evaluation", "testing", "plugin_api")
SHELVES = ("embedders", "indexers", "retrievers", "rerankers", "models")
ENGINES = ("sentence_transformers", "chromadb", "psycopg")  # of extras that may be missing
SOURCES = (("samples",), SHELVES, ("tests",), ("genkit_rag",))
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEAD = """\
# genkit_rag

> Typed, traced retrieval-augmented generation in Python. Embedders, indexers, retrievers, rerankers, models, tools and
> prompts are actions in one registry. `ai = Genkit(plugins=[...])`, then `ai.index`, `ai.retrieve`, `ai.rerank`,
> `ai.generate(docs=...)`. All of them are coroutines: write `await` in front.
"""


def snippets() -> Iterator[tuple[int, str]]:
    """Yield runnable code with its rank as a source of examples: documentation, samples, plugins, tests, framework."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for code in FENCE.findall(page.read_text(encoding="utf-8")):
            yield 0, code
    for rank, folders in enumerate(SOURCES, 1):
        for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
            yield rank, path.read_text(encoding="utf-8")


def examples() -> dict[str, str]:
    """Return the best statement that uses each name, by the name: see `_rank`."""
    found: dict[str, tuple[tuple[object, ...], str]] = {}
    for source, code in snippets():
        lines = code.splitlines()
        for statement in _statements(code):
            decorators = getattr(statement, "decorator_list", [])
            first = decorators[0].lineno if decorators else statement.lineno
            text = textwrap.dedent("\n".join(lines[first - 1 : statement.end_lineno]))
            if len(text) > (600 if source == 0 else 300):
                if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                statement = copy.copy(statement)
                statement.body, statement.decorator_list = [ast.Expr(ast.Constant(...))], []
                text, source_rank = ast.unparse(statement), source + len(SOURCES)
            else:
                source_rank = source
            for name in _used(statement):
                rank = _rank(text, name, source_rank)
                if name not in found or rank < found[name][0]:
                    found[name] = rank, text
    return {name: text for name, (_, text) in found.items()}


def _statements(code: str) -> Iterator[ast.stmt]:
    try:
        module = ast.parse(code)
    except SyntaxError:
        return
    waiting: list[ast.stmt] = list(module.body)
    while waiting:
        statement = waiting.pop()
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        waiting += [child for child in ast.walk(statement) if isinstance(child, ast.stmt) and child is not statement]


def _used(statement: ast.stmt) -> set[str]:
    nodes = list(ast.walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {f".{node.attr}" for node in nodes if isinstance(node, ast.Attribute)}


def _rank(text: str, name: str, source: int) -> tuple[object, ...]:
    """Order examples: better sources first, then a call of the name, at least twenty characters, the shortest."""
    return source, f"{name}(" not in text, len(text) < 20, len(text), text


def signature(value: object, name: str) -> str:
    """Return the call of a class or function with the names and defaults of its parameters."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    if isinstance(fields := getattr(value, "model_fields", None), dict):
        return f"{name}({', '.join(fields)})"
    parameters, star = [], False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls") or parameter.name.startswith("_"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            parameters.append("*")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            star = True
            parameters.append(("*" if parameter.kind is parameter.VAR_POSITIONAL else "**") + parameter.name)
        elif parameter.default is parameter.empty:
            parameters.append(parameter.name)
        else:
            default = repr(parameter.default)
            parameters.append(f"{parameter.name}={default if len(default) <= 20 else '...'}")
    return f"{name}({', '.join(parameters)})"


def summary(value: object) -> str:
    """Return the first line of the docstring without its full stop."""
    return (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")


class Writer:
    """The lines of `llms-full.txt`; an example that was shown before is referred to by its name."""

    def __init__(self) -> None:
        self.lines = [HEAD]
        self.examples = examples()
        self.shown: dict[str, str] = {}
        self.missing: list[str] = []

    def entry(self, name: str, value: object, key: str) -> None:
        """Add a public name: signature, summary and example."""
        callable_ = inspect.isclass(value) or inspect.isroutine(value)
        head = signature(value, name) if callable_ else name
        text = summary(value) if callable_ else ""
        prefix = "await " if inspect.iscoroutinefunction(value) else ""
        self.lines.append(f"- `{prefix}{head}`{': ' + text if text else ''}")
        # The example of a middleware class is that of the function that makes it.
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
        example = self.examples.get(key) or self.examples.get(snake)
        if example is None:
            self.missing.append(name)
        elif example in self.shown:
            self.lines.append(f"  Example: see `{self.shown[example]}`.")
        else:
            self.shown[example] = name
            self.lines.append("  ```python\n" + textwrap.indent(example, "  ") + "\n  ```")

    def module(self, module: ModuleType) -> None:
        """Add a public module: its names, and the methods of `Genkit`."""
        self.lines.append(f"\n## {module.__name__}\n\n{summary(module)}.\n")
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if module.__name__ != "genkit_rag" and name in vars(importlib.import_module("genkit_rag._exports")):
                continue  # shown under genkit_rag
            self.entry(name, value, name)
            if name == "Genkit":
                for method, function in sorted(inspect.getmembers(value, callable)):
                    if not method.startswith("_"):
                        self.entry(f"ai.{method}", function, f".{method}")


def full() -> tuple[str, list[str]]:
    """Return the text of `llms-full.txt` and the names that have no example."""
    writer = Writer()
    for name in MODULES:
        writer.module(importlib.import_module(name if name == "genkit_rag" else f"genkit_rag.{name}"))
    writer.lines.append("\n## Plugins\n\nEach is a package of its own and an extra of its name.\n")
    for shelf in SHELVES:
        for folder in sorted((ROOT / shelf).glob("genkit_rag_*")):
            plugin = importlib.import_module(folder.name)
            extra = folder.name.removeprefix("genkit_rag_").replace("_", "-")
            writer.lines.append(f"\n### {folder.name} (`genkit-rag[{extra}]`)\n")
            for name in sorted(plugin.__all__):
                writer.entry(name, getattr(plugin, name), name)
    return "\n".join(writer.lines) + "\n", writer.missing


def index() -> str:
    """Return the text of `llms.txt`: every documentation page with its first sentence."""
    lines = [HEAD, "## Documentation\n"]
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        title, _, body = text.partition("\n")
        first = next((part for part in body.split("\n\n") if part.strip()[:1].isalpha()), "").replace("\n", " ")
        first = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", first)  # links become their text
        sentence = re.split(r"(?<=[.:]) ", first.strip(), maxsplit=1)[0]
        lines.append(f"- [{title.lstrip('# ')}]({path.relative_to(ROOT).as_posix()}): {sentence}")
    lines.append("\n## Optional\n\n- [The whole public API with examples](llms-full.txt)")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files and print their sizes; with `--check`, exit with 1 if one is outdated or lacks an example."""
    for engine in ENGINES:  # a signature does not need the engine
        if importlib.util.find_spec(engine) is None:
            sys.modules[engine] = ModuleType(engine)
    text, missing = full()
    if missing:
        print("without an example:", *missing)
    outdated = False
    for name, content in (("llms.txt", index()), ("llms-full.txt", text)):
        path = ROOT / "genkit_rag" / name
        if "--check" not in sys.argv:
            path.write_text(content, encoding="utf-8")
            print(f"genkit_rag/{name}: {len(content):,} characters")
        elif path.read_text(encoding="utf-8") != content:
            outdated = True
            print(f"genkit_rag/{name} is outdated: run `make llms`")
    if "--check" in sys.argv:
        sys.exit(outdated or bool(missing))


if __name__ == "__main__":
    main()
