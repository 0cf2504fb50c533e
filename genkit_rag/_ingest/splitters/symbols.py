"""The name that a node of a syntax tree defines."""

from __future__ import annotations

import re
from typing import Any

_DEFINITION = re.compile(
    r"(?:_definition|_declaration|_item|_specifier|_spec)$|^(?:class|module|method|singleton_method)$"
)
_FUNCTIONS = frozenset(("arrow_function", "function_expression", "function", "class", "generator_function"))
_RECEIVER = re.compile(r"\(\s*(?:\w+\s+)?\*?\s*(\w+)")


def symbol(node: Any) -> tuple[str, ...]:
    """Return the path of the name that a node defines, such as `("Stack", "push")` for Go's `func (s *Stack) push()`.

    Empty for what defines nothing, or nothing that has a name.
    """
    while (inner := wrapped(node)) is not None:
        node = inner
    if node.type in ("lexical_declaration", "variable_declaration"):
        node = _declared_function(node)
    elif not _DEFINITION.search(node.type):
        return ()
    name = node and _name(node)
    if name is None:
        return ()
    receiver = node.child_by_field_name("receiver")
    owner = _RECEIVER.match(_text(receiver)) if receiver is not None else None
    return (*((owner[1],) if owner else ()), *re.split(r"::|\.|\\", _text(name)))


def wrapped(node: Any) -> Any:
    """Return the definition inside a wrapping node: a decorator, `export`, `template`; None without one."""
    for field in ("definition", "declaration"):
        inner = node.child_by_field_name(field)
        if inner is not None:
            return inner
    if node.type in ("template_declaration", "type_declaration") and node.named_children:
        return node.named_children[-1]
    return None


def _name(node: Any) -> Any:
    name = node.child_by_field_name("name")
    if name is None and node.type == "impl_item":
        return node.child_by_field_name("type")
    if name is None and node.type == "function_definition":
        name = node.child_by_field_name("declarator")
        while name is not None and (inner := name.child_by_field_name("declarator")) is not None:
            name = inner
    return name


def _declared_function(node: Any) -> Any:
    """Return the declarator of `const f = () => ...`."""
    declarator = node.named_children[0] if len(node.named_children) == 1 else None
    value = declarator and declarator.child_by_field_name("value")
    return declarator if value is not None and value.type in _FUNCTIONS else None


def _text(node: Any) -> str:
    return node.text.decode("utf-8", "replace") if node.text else ""
