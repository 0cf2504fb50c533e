"""Evaluate: datasets, evaluations with progress, their reports, and comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag._core.errors import require_extra
from genkit_rag._server.dev_ui.screens.evaluate.datasets import DatasetRoutes
from genkit_rag._server.dev_ui.screens.evaluate.runs import RunRoutes
from genkit_rag._server.dev_ui.screens.evaluate.store import stores
from genkit_rag._server.dev_ui.ui import Screen, Ui

with require_extra("dev", "starlette"):
    from starlette.routing import BaseRoute


def routes(ui: Ui) -> Sequence[BaseRoute]:
    """Create the routes of the screen."""
    datasets, runs = stores(ui)
    return [*RunRoutes(ui, datasets, runs).routes(), *DatasetRoutes(ui, datasets, runs).routes()]


screen = Screen("Evaluate", "/evaluate", "evaluate", order=50, routes=routes)
