"""Checking JSON against schemas that come from anybody."""

import socket

import pytest

from genkit_rag import GenkitError
from genkit_rag._core.schema import MAX_PROBLEMS, check_json, parse


@pytest.mark.parametrize("ref", ["http://127.0.0.1:9/x.json", "file:///etc/hostname", "#/$defs/missing", "urn:x"])
def test_a_reference_out_of_a_schema_is_refused_and_fetches_nothing(ref: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(GenkitError, match="not in it") as caught:
        check_json({"$ref": ref}, 1, "The answer")
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.hint


def test_an_error_holds_a_bounded_number_of_problems() -> None:
    with pytest.raises(GenkitError, match="and 497 more") as caught:
        parse(list[int], ["x"] * 500, "The list")
    assert len(caught.value.details["problems"]) == MAX_PROBLEMS
