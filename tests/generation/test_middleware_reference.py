"""The reference of middleware holds every setting, with its default and its name on the wire."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

import genkit_rag.middleware as door
from genkit_rag import Genkit

PAGE = (Path(__file__).parents[2] / "docs/reference/middleware.md").read_text(encoding="utf-8")
NAMES = sorted(Genkit().list_middleware())
TESTS_ONLY = {"sleep", "uniform"}


def rows(name: str) -> dict[str, list[str]]:
    section = PAGE.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {setting: [cell.strip() for cell in cells.split(" | ")] for setting, cells in found}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_in_the_reference(name: str) -> None:
    made: Any = getattr(door, name)
    wired = Genkit().list_middleware()[name].get("configSchema", {}).get("properties", {})
    parameters = {key: value for key, value in inspect.signature(made).parameters.items() if key not in TESTS_ONLY}
    table = rows(name)
    assert set(table) == set(parameters)
    for setting, (default, wire, *_) in table.items():
        value = parameters[setting].default
        if value is inspect.Parameter.empty or setting == "registry":
            assert default in ("required", "None")
        elif isinstance(value, bool | int) or (value is None and setting != "item_template"):
            assert default == str(value), setting
        assert (wire == f"`{to_camel(setting)}`") == (to_camel(setting) in wired), setting
    assert set(wired) <= {to_camel(setting) for setting in table}


def test_every_name_of_the_door_is_in_the_reference() -> None:
    assert [name for name in door.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []


def test_every_middleware_has_a_function_and_a_class() -> None:
    for name in NAMES:
        assert callable(getattr(door, name))
        assert isinstance(getattr(door, "".join(part.title() for part in name.split("_"))), type)
