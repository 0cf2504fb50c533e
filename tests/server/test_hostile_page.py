"""The hostile page against the whole developer server: every route that any part of it has, by its own table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from genkit_rag._server.dev_ui import dev_app
from genkit_rag._server.guard import new_token
from genkit_rag._server.telemetry import TraceStore
from tests.server.hostile import assert_hostile_requests_are_refused, routes_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(tmp_path / "traces.db")
    yield made
    made.close()


@pytest.mark.parametrize("token", [None, new_token()], ids=["open", "token"])
async def test_every_route_of_the_developer_server_refuses_the_hostile_page(
    tmp_path: Path, store: TraceStore, token: str | None
) -> None:
    guard = dev_app(tmp_path, store, token)
    table = {path for _, path in routes_of(guard.app)}
    assert {"/api/traces", "/api/live", "/v1/traces", "/"} <= table, "telemetry and pages are one server"
    assert await assert_hostile_requests_are_refused(guard) > 300 * len(table)
