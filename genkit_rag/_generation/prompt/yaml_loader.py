"""A YAML loader for front matter: plain data by the core schema of YAML 1.2, with the line of every field.

`yes`, `on` and dates stay text, and keys are always text. Anchors, aliases and tags are errors, so that a small file
cannot expand to a large object.
"""

from __future__ import annotations

import re
from typing import Any

from genkit_rag._core.errors import require_extra

with require_extra("prompts", "yaml"):
    import yaml

Path = tuple[str | int, ...]


class YamlProblem(Exception):
    """An error in YAML, with its line counted from 0."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def load(source: str) -> tuple[Any, dict[Path, int]]:
    """Load the data and the line (from 0) of every field; raises `YamlProblem`."""
    loader: _Loader | None = None
    try:
        loader = _Loader(source)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        return (None if node is None else _value(loader, node, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(f"invalid YAML: {error.problem}", _line(error.problem_mark)) from error
    except RecursionError as error:
        raise YamlProblem("nested too deeply", 0) from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlProblem("invalid YAML", 0) from error
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """A loader without implicit types, anchors and tags."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - an own dict inherits no resolvers

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        for name in ("anchor", "tag"):
            if getattr(event, name, None) is not None:
                kind = "anchors and aliases" if name == "anchor" else "tags"
                raise YamlProblem(f"{kind} are not allowed", _line(event.start_mark))
        return super().compose_node(parent, index)


_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _name, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _value(loader: _Loader, node: Any, path: Path, lines: dict[Path, int]) -> Any:
    lines[path] = _line(node.start_mark)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node.tag.rpartition(":")[2], str(node.value))
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, at), lines) for at, item in enumerate(node.value)]
    made: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlProblem("keys must be text", _line(key.start_mark))
        if key.value in made:
            raise YamlProblem(f"the key `{key.value}` appears twice", _line(key.start_mark))
        made[key.value] = _value(loader, value, (*path, key.value), lines)
        lines[(*path, key.value)] = _line(key.start_mark)
    return made


def _scalar(kind: str, text: str) -> Any:
    if kind == "bool":
        return text.lower() == "true"
    if kind == "null":
        return None
    if kind == "int":
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    return float(text) if kind == "float" else text


def _line(mark: Any) -> int:
    return 0 if mark is None else int(mark.line)
