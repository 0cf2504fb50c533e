"""Errors say what was wrong and what to do."""

from __future__ import annotations

import re
import sys
from typing import get_args

import pytest

from genkit_rag._core.errors import HTTP_CODES, STATUS_CODES
from genkit_rag.plugin_api import GenkitError, MissingExtra, PublicError, Status, invalid, require_extra


def test_every_status_has_its_grpc_number_and_an_http_code() -> None:
    statuses = get_args(Status)
    assert len(statuses) == 17
    assert list(STATUS_CODES) == list(HTTP_CODES) == list(statuses)
    assert list(STATUS_CODES.values()) == list(range(17))
    assert STATUS_CODES["UNAUTHENTICATED"] == 16
    assert all(400 <= code < 600 for status, code in HTTP_CODES.items() if status != "OK")


@pytest.mark.parametrize("status", get_args(Status))
def test_an_error_knows_its_codes(status: Status) -> None:
    error = GenkitError(status, "It broke.")
    assert (error.code, error.http_code) == (STATUS_CODES[status], HTTP_CODES[status])
    assert str(error) == f"{status}: It broke."


def test_the_text_of_an_error_has_status_message_and_hint() -> None:
    assert str(GenkitError("NOT_FOUND", "No tea.", hint="Boil some.")) == "NOT_FOUND: No tea. Boil some."


def test_a_cause_is_kept() -> None:
    cause = ValueError("inner")
    assert GenkitError("INTERNAL", "outer", cause=cause).__cause__ is cause


def test_an_invalid_argument_names_the_argument_and_shortens_the_value() -> None:
    error = invalid("k", "x" * 500, "must be a number", hint="Pass 10.")
    assert error.status == "INVALID_ARGUMENT"
    assert error.message.startswith("`k` must be a number, got 'xxx")
    assert len(error.message) < 200
    assert error.details == {"argument": "k"}
    assert error.hint == "Pass 10."


def test_a_missing_extra_is_an_import_error_with_the_command_that_installs_it() -> None:
    error = MissingExtra("faiss", "faiss-cpu")
    assert isinstance(error, ImportError)
    assert error.name == "faiss-cpu"
    assert re.search(r'pip install "genkit-rag\[faiss\]"', str(error))


def test_only_public_errors_are_public() -> None:
    assert issubclass(PublicError, GenkitError)
    assert not isinstance(invalid("a", 1, "is wrong"), PublicError)


def test_an_extra_that_is_not_installed_is_an_error_before_any_import(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra("eval", "json", "email.message")
    with require_extra("eval", "json"):
        pass
    for module in ("no_such_module", "no_such_module.sub", "json.no_such_module"):
        with pytest.raises(MissingExtra, match=rf"`{module}`.*genkit-rag\[eval\]"):
            require_extra("eval", "json", module)
    monkeypatch.setitem(sys.modules, "email", None)
    with pytest.raises(MissingExtra):
        require_extra("eval", "email")
