"""Conditions on the difference of a metric, such as `ndcg@10 < -0.01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from genkit_rag._core.errors import invalid

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = re.compile(r"\s*([^\s<>=]+)\s*(<=|>=|<|>)\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the difference of a metric."""

    metric: str
    sign: str
    limit: float

    def holds(self, delta: float) -> bool:
        """Return whether a difference satisfies the condition."""
        return _OPERATORS[self.sign](delta, self.limit)


def parse_condition(text: str) -> Condition:
    """Parse a condition: a metric's name, `<`, `<=`, `>` or `>=`, and a number; INVALID_ARGUMENT for other text."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise invalid(
            "condition", text, "must be a metric, <, <=, > or >=, and a number", hint="Write such as 'ndcg@10 < -0.01'."
        )
    return Condition(found[1], found[2], float(found[3]))
