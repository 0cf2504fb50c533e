"""Put random faults into the product, one at a time, and count those that the tests notice.

Run it with `make mutants` (MUTANTS=20 faults, SEED=1, JUDGE=nearest or all). Every fault goes into a copy of the
project. The sample depends on the seed and the source only. A survivor is printed with its place and its change: it
shows a test that is missing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHELVES = ("embedders", "indexers", "retrievers", "rerankers", "models")
# The test folders of a package, nearest first. A plugin's tests are in the folder named as its shelf.
FOLDERS = {
    "_core": ("core", "ai"),
    "_net": ("net", "ingest"),
    "_documents": ("documents", "rag"),
    "_weights": ("weights", "embedders"),
    "_config": ("configuration", "cli"),
    "_rag": ("rag", "ai", "retrievers", "indexers"),
    "_generation": ("generation", "ai", "models"),
    "_evaluation": ("evaluation", "cli"),
    "_plugin_kit": ("models", "embedders", "rerankers", "retrievers"),
    "_ingest": ("ingest", "ai"),
    "_server": ("server", "browser"),
    "_ai": ("ai", "rag", "generation"),
    "_cli": ("cli", "evaluation"),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """A fault: the source text `before` at an offset of a file is replaced by `after`."""

    path: str
    line: int
    scope: str
    start: int
    before: str
    after: str

    def __str__(self) -> str:
        """Return the place and the change on one line."""
        shorten = " ".join
        return f"{self.path}:{self.line} {self.scope}: {shorten(self.before.split())} -> {shorten(self.after.split())}"


def sources() -> list[Path]:
    """Return the modules of the product, tests' helpers and generated code left out."""
    folders = [ROOT / "genkit_rag", *(ROOT / shelf for shelf in SHELVES)]
    found = [path for folder in folders for path in folder.rglob("*.py")]
    return sorted(path for path in found if "testing" not in path.parts)


def changed(node: ast.AST) -> ast.AST | None:
    """Return the node with a fault, or None if no kind of fault applies."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            new.ops = [COMPARISONS[type(operator)]()]
        case ast.BoolOp(op=operator):
            new.op = ast.Or() if isinstance(operator, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.BinOp(op=operator, left=left) if type(operator) in OPERATORS and not _is_text(left):
            new.op = OPERATORS[type(operator)]()
        case ast.Constant(value=bool(value)):
            new.value = not value
        case ast.Constant(value=int(value)):
            new.value = value + 1
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            new.value = ast.Constant(None)
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Continue() | ast.Break():
            return ast.Pass()
        case ast.If(test=test):
            return ast.UnaryOp(ast.Not(), test)
        case _:
            return None
    return new


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield every fault that can be put into the functions of a module."""
    text = path.read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()
    for scope, node in _nodes(ast.parse(text)):
        new = changed(node)
        if new is None:
            continue
        place: ast.AST = node.test if isinstance(node, ast.If) else node
        assert isinstance(place, ast.expr | ast.stmt)
        begin = starts[place.lineno - 1] + place.col_offset
        end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
        before, after = data[begin:end].decode(), ast.unparse(ast.fix_missing_locations(new))
        after = f"({after})" if isinstance(place, ast.expr) else after
        yield Mutant(path.relative_to(ROOT).as_posix(), place.lineno, scope, begin, before, after)


def _nodes(module: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the nodes in functions with the function's name; annotations, defaults and f-strings are left out."""
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        scope, node = waiting.pop()
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.JoinedStr | ast.arguments | ast.AnnAssign) or _is_type_checking(node):
            continue
        if scope:
            yield scope, node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [(node.name, child) for child in node.body]
        else:
            waiting += [(node.name if inside else scope, child) for child in ast.iter_child_nodes(node)]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nearest(mutant: Mutant, tests: list[Path]) -> list[str]:
    """Return the test files that are nearest to a fault, by folder, file name and the names that they mention."""
    parts = Path(mutant.path).with_suffix("").parts
    if parts[0] in SHELVES:
        plugin = parts[1].removeprefix("genkit_rag_")
        folders, words = (parts[0],), {plugin, plugin.split("_")[0]}
    else:
        package = parts[1] if parts[1].startswith("_") else "_ai"
        folders = FOLDERS.get(package, ("ai", "core"))
        words = {part.strip("_").removesuffix("s") for part in parts[2:]} - {"init", "type", "base"}
    ranked = []
    for path in tests:
        folder = path.relative_to(ROOT / "tests").parts[0]
        if folder not in folders:
            continue
        text = path.read_text(encoding="utf-8")
        names = sum(word in path.stem for word in words)
        mentions = sum(word in text for word in (mutant.scope.strip("_"), *words))
        if names or mentions:
            ranked.append((-3 * names - mentions + folders.index(folder), path.relative_to(ROOT).as_posix()))
    return [name for _, name in sorted(ranked)[:14]]


def survives(mutant: Mutant, work: Path, judges: list[str], limit: float) -> bool:
    """Return whether the judging tests pass with the fault in place. A run over the time limit has noticed it."""
    target = work / mutant.path
    original = target.read_bytes()
    before = mutant.before.encode()
    assert original[mutant.start :].startswith(before), f"{mutant.path} changed meanwhile"
    target.write_bytes(original[: mutant.start] + mutant.after.encode() + original[mutant.start + len(before) :])
    paths = os.pathsep.join(str(work / name) for name in ("", *SHELVES))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *judges]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=os.environ | {"PYTHONPATH": paths, "CI": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_bytes(original)
    return done.returncode == 0


def main() -> None:
    """Draw a sample of faults, judge each by the tests, print the survivors and the rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--judge", choices=("nearest", "all"), default="nearest")
    parser.add_argument("--limit", type=float, default=900, help="seconds for the tests of one fault")
    parser.add_argument("paths", nargs="*", help="modules to draw from, for example those that a branch changed")
    options = parser.parse_args()
    chosen = [ROOT / path for path in options.paths] or sources()
    modules = [path for entry in chosen for path in ([entry] if entry.is_file() else sorted(entry.rglob("*.py")))]
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    everything = [mutant for path in modules for mutant in mutants(path)]
    sample = random.Random(options.seed).sample(everything, min(options.number, len(everything)))
    alive = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "project"
        shutil.copytree(ROOT, work, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__", "site", "dist"))
        for number, mutant in enumerate(sample, 1):
            judges = nearest(mutant, tests) if options.judge == "nearest" else ["-n", "auto", "--dist", "loadfile"]
            begin = time.monotonic()
            lives = survives(mutant, work, judges or ["tests"], options.limit)
            alive += [mutant] * lives
            print(
                f"{number:4} {'SURVIVED' if lives else 'noticed '} {time.monotonic() - begin:5.0f} s  {mutant}",
                flush=True,
            )
    rate = 1 - len(alive) / max(len(sample), 1)
    print(f"{len(sample) - len(alive)} of {len(sample)} faults noticed ({rate:.0%}), judged by: {options.judge}")


if __name__ == "__main__":
    main()
