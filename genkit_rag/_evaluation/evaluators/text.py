"""Evaluators that compare an output with its reference, without a model."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.types import EvalDataPoint, Score, reference_of, text_of, verdict

MAX_TEXT = 100_000
"""How many characters a pattern is searched in."""
MAX_PATTERN = 1_000
"""How long a pattern may be."""


class MatchOptions(WireModel):
    """Options of `exact_match`.

    Attributes:
        ignore_case: Whether capitals do not count.
        ignore_space: Whether runs of white space count as one space, and none at the ends.
    """

    ignore_case: bool = False
    ignore_space: bool = True


class ContainsOptions(MatchOptions):
    """Options of `contains`.

    Attributes:
        values: What must be in the output; the reference by default.
        require: Whether `all` of several values must be there, or `any`.
    """

    values: list[str] | None = None
    require: str = Field(default="all", pattern="^(all|any)$")


class RegexOptions(WireModel):
    """Options of `regex`.

    Attributes:
        pattern: The regular expression; the reference by default.
        full: Whether it must match the whole output.
        ignore_case: Whether capitals do not count.
        timeout: Seconds that a match may take: a pattern with many ways to fail is given up then.
    """

    pattern: str | None = None
    full: bool = False
    ignore_case: bool = False
    timeout: float = Field(default=0.5, gt=0, le=10)


class JsonOptions(WireModel):
    """Options of `json_match`.

    Attributes:
        paths: The compared paths, such as `$.items[0].name`; everything by default.
        tolerance: The maximum difference of two numbers.
    """

    paths: list[str] | None = None
    tolerance: float = Field(default=0, ge=0)


def exact_match(datapoint: EvalDataPoint, options: MatchOptions) -> Score:
    """Whether the output is the reference, or one of several."""
    said = _plain(text_of(datapoint.output), options)
    right = [_plain(text, options) for text in _references(datapoint)]
    return verdict(said in right, None if said in right else f"Expected {' or '.join(map(repr, right))}."[:500])


def contains(datapoint: EvalDataPoint, options: ContainsOptions) -> Score:
    """Whether the output has the reference in it, or all of several."""
    said = _plain(text_of(datapoint.output), options)
    wanted = options.values if options.values is not None else _references(datapoint)
    missing = [text for text in wanted if _plain(text, options) not in said]
    passed = not missing if options.require == "all" else len(missing) < len(wanted)
    return verdict(passed, None if passed else f"Missing: {', '.join(map(repr, missing))}."[:500])


def regex(datapoint: EvalDataPoint, options: RegexOptions) -> Score:
    """Whether a regular expression matches the output."""
    engine = _regex_engine()
    pattern = options.pattern if options.pattern is not None else reference_of(datapoint, "answer")
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The pattern must be text of up to {MAX_PATTERN} characters.",
            hint="Pass the option `pattern`, or write it as the reference.",
        )
    text = text_of(datapoint.output)
    if len(text) > MAX_TEXT:
        raise GenkitError("INVALID_ARGUMENT", f"The output has {len(text):,} characters, more than {MAX_TEXT:,}.")
    flags = engine.IGNORECASE if options.ignore_case else 0
    try:
        compiled = engine.compile(pattern, flags)
        search = compiled.fullmatch if options.full else compiled.search
        found = search(text, timeout=options.timeout, concurrent=True)
    except engine.error as error:
        raise GenkitError("INVALID_ARGUMENT", f"The pattern {pattern!r:.100} is wrong: {error}.") from error
    except TimeoutError as error:
        raise GenkitError(
            "DEADLINE_EXCEEDED",
            f"The pattern {pattern!r:.100} took over {options.timeout:g} s.",
            hint="Write it without nested repetitions.",
        ) from error
    return verdict(found is not None)


def _regex_engine() -> Any:
    # Python's own `re` cannot be stopped: one pattern would hold a thread for ever.
    require_extra("eval", "regex")
    return importlib.import_module("regex")


def json_match(datapoint: EvalDataPoint, options: JsonOptions) -> Score:
    """Return whether the output equals the reference as JSON."""
    said, right = _json(datapoint.output, "output"), _json(reference_of(datapoint, "answer"), "reference")
    for path in options.paths or ["$"]:
        try:
            one, other = _at(said, path), _at(right, path)
        except LookupError as error:
            return verdict(False, f"{path}: {error.args[0]}")
        difference = _difference(one, other, options.tolerance, path)
        if difference:
            return verdict(False, difference)
    return verdict(True)


def _references(point: EvalDataPoint) -> list[str]:
    raw = reference_of(point, "answer")
    if raw is None:
        raise GenkitError("INVALID_ARGUMENT", "The data point has no reference.", hint="Give it a `reference`.")
    items: list[Any] = raw if isinstance(raw, list) else [raw]
    if not items:
        raise GenkitError("INVALID_ARGUMENT", "The data point's reference is an empty list.", hint="Give it an answer.")
    return [text_of(item) for item in items]


def _plain(text: str, options: MatchOptions) -> str:
    if options.ignore_space:
        text = " ".join(text.split())
    return text.casefold() if options.ignore_case else text


def _json(value: Any, what: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        if what == "reference":
            return value
        raise GenkitError("INVALID_ARGUMENT", f"The {what} is no JSON: {error}.") from error


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]")


def _at(value: Any, path: str) -> Any:
    """Return the value at a path; LookupError names the missing part."""
    rest = path.removeprefix("$")
    steps = list(_STEP.finditer(rest))
    if not path.startswith("$") or "".join(step[0] for step in steps) != rest:
        raise GenkitError(
            "INVALID_ARGUMENT", f"`paths` has {path!r}, which is no path.", hint="Write such as $.items[0].name."
        )
    for step in steps:
        if step[1] is not None and isinstance(value, Mapping) and step[1] in value:
            value = cast("Mapping[str, Any]", value)[step[1]]
        elif step[2] is not None and isinstance(value, list) and int(step[2]) < len(value):
            value = value[int(step[2])]
        else:
            raise LookupError("it is not there")
    return value


def _difference(one: Any, other: Any, tolerance: float, path: str) -> str | None:
    """Return the first difference of two JSON values, or None. 1 equals 1.0, but 1 does not equal true."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return None if one is other else f"{path}: {one!r:.80} is not {other!r:.80}."
    if isinstance(one, int | float) and isinstance(other, int | float):
        same = one == other or abs(one - other) <= tolerance
        return None if same else f"{path}: {one!r} is not {other!r}."
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _difference_of_objects(one, other, tolerance, path)
    if isinstance(one, list) and isinstance(other, list):
        return _difference_of_lists(one, other, tolerance, path)
    return None if type(one) is type(other) and one == other else f"{path}: {one!r:.80} is not {other!r:.80}."


def _difference_of_objects(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float, path: str) -> str | None:
    odd = sorted(map(str, one.keys() ^ other.keys()))
    if odd:
        return f"{path}: only one of the two has {', '.join(odd)}."[:500]
    found = (_difference(value, other[name], tolerance, f"{path}.{name}") for name, value in one.items())
    return next((difference for difference in found if difference), None)


def _difference_of_lists(one: Sequence[Any], other: Sequence[Any], tolerance: float, path: str) -> str | None:
    if len(one) != len(other):
        return f"{path}: {len(one)} items are not {len(other)}."
    found = (
        _difference(left, right, tolerance, f"{path}[{number}]")
        for number, (left, right) in enumerate(zip(one, other, strict=True))
    )
    return next((difference for difference in found if difference), None)
