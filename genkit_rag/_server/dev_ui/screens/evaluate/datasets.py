"""Datasets: pages that show them, and writes that change them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._server.datasets import Dataset, DatasetKind, DatasetStore, RunStore
from genkit_rag._server.dev_ui.screens.evaluate.store import rows_of, text_field
from genkit_rag._server.dev_ui.ui import Ui, json_object, json_response

with require_extra("dev", "starlette"):
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PAGE_ROWS = 50


class DatasetRoutes:
    """The routes of datasets; every write names the version that it was made for, where the page knew one."""

    def __init__(self, ui: Ui, datasets: DatasetStore, runs: RunStore) -> None:
        self._ui, self._datasets, self._runs = ui, datasets, runs

    def routes(self) -> list[Route]:
        """Create the routes."""
        base = "/evaluate/datasets"
        return [
            Route(base, self.create, methods=["POST"]),
            Route(f"{base}/{{dataset_id}}", self.page, methods=["GET"]),
            Route(f"{base}/{{dataset_id}}", self.delete, methods=["DELETE"]),
            Route(f"{base}/{{dataset_id}}/export", self.export, methods=["GET"]),
            Route(f"{base}/{{dataset_id}}/rows", self.append, methods=["POST"]),
            Route(f"{base}/{{dataset_id}}/rows/{{number:int}}", self.replace, methods=["PUT"]),
            Route(f"{base}/{{dataset_id}}/rows/{{number:int}}", self.remove, methods=["DELETE"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show a page of a dataset's rows; `?version=` selects an earlier version."""
        name, wanted = request.path_params["dataset_id"], request.query_params
        version = whole(wanted.get("version"), "version") if "version" in wanted else None
        dataset = await run_in_thread(self._datasets.get, name, version)
        search = wanted.get("q", "")[:200]
        shown, total = await run_in_thread(_found, dataset, search, whole(wanted.get("page", "1"), "page"))
        versions = await run_in_thread(self._datasets.versions, name)
        runs = await run_in_thread(self._runs.list, name)
        newest = max(versions, default=dataset.version)
        return await self._ui.page(
            request,
            "evaluate/dataset.html",
            dataset=dataset,
            rows=shown,
            total=total,
            search=search,
            page=whole(wanted.get("page", "1"), "page"),
            pages=max(1, -(-total // PAGE_ROWS)),
            versions=list(reversed(versions)),
            newest=newest,
            runs=runs[:10],
        )

    async def export(self, request: Request) -> Response:
        """Send the rows as JSON or JSON Lines, in the form that the upload accepts."""
        dataset = await run_in_thread(self._datasets.get, request.path_params["dataset_id"])
        lines = request.query_params.get("format", "json") == "jsonl"
        data = await run_in_thread(_as_lines if lines else _as_json, dataset)
        ending, media = ("jsonl", "application/x-ndjson") if lines else ("json", "application/json")
        return download(data, f"{dataset.dataset_id}.{ending}", media)

    async def create(self, request: Request) -> Response:
        """Create a dataset from rows or the text of a file."""
        body = await json_object(request)
        kind: DatasetKind = body.get("kind") or "examples"
        if kind not in ("examples", "judgements"):
            raise invalid("kind", kind, "must be `examples` or `judgements`")
        rows = await run_in_thread(rows_of, body, kind)
        name, target = cast(str, body.get("datasetId")), text_field(body, "target", 500)
        made = await run_in_thread(lambda: self._datasets.create(name, rows, kind=kind, target=target))
        return _said(made, 201)

    async def append(self, request: Request) -> Response:
        """Append rows, or those in the text of a file."""
        name, body = request.path_params["dataset_id"], await json_object(request)
        kind = (await run_in_thread(self._datasets.get, name)).kind
        rows = await run_in_thread(rows_of, body, kind)
        return _said(await run_in_thread(self._datasets.append, name, rows))

    async def replace(self, request: Request) -> Response:
        """Replace a row."""
        body, number = await json_object(request), request.path_params["number"]
        row = body.get("row")
        if not isinstance(row, dict):
            raise invalid("row", row, "must be an object")

        def change(rows: list[Any]) -> list[Any]:
            return [*rows[:number], row, *rows[number + 1 :]]

        return await self._change(request, change, body)

    async def remove(self, request: Request) -> Response:
        """Remove a row."""
        body, number = await json_object(request), request.path_params["number"]
        return await self._change(request, lambda rows: rows[:number] + rows[number + 1 :], body)

    async def _change(
        self, request: Request, change: Callable[[list[Any]], list[Any]], body: dict[str, Any]
    ) -> Response:
        name, number, version = request.path_params["dataset_id"], request.path_params["number"], body.get("version")
        if not isinstance(version, int) or isinstance(version, bool):
            raise invalid("version", version, "must be the version that was shown")

        def write() -> Dataset:
            rows = self._datasets.get(name).rows
            if number >= len(rows):
                raise GenkitError("NOT_FOUND", f"The dataset has no row {number}.", hint="Load the page again.")
            return self._datasets.update(name, change(rows), expected_version=version)

        return _said(await run_in_thread(write))

    async def delete(self, request: Request) -> Response:
        """Delete a dataset; its runs are kept."""
        await run_in_thread(self._datasets.delete, request.path_params["dataset_id"])
        return json_response({"deleted": True})


def whole(text: str | None, name: str) -> int:
    """Parse a number of a query string; INVALID_ARGUMENT unless it is an integer of at least 1."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise invalid(name, text, "must be a whole number from 1")
    return int(text)


def download(data: bytes | str, filename: str, media: str) -> Response:
    """Create a file download with a validated name."""
    return Response(data, media_type=media, headers={"content-disposition": f'attachment; filename="{filename}"'})


def _said(made: Dataset, status: int = 200) -> Response:
    return json_response({"datasetId": made.dataset_id, "version": made.version, "size": made.size}, status)


def _found(dataset: Dataset, search: str, page: int) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """Return the numbered rows of a page, and the total."""
    numbered = list(enumerate(dataset.rows))
    if search:
        wanted = search.casefold()
        numbered = [(n, row) for n, row in numbered if wanted in json.dumps(row, ensure_ascii=False).casefold()]
    return numbered[(page - 1) * PAGE_ROWS : page * PAGE_ROWS], len(numbered)


def _as_json(dataset: Dataset) -> bytes:
    return json.dumps(dataset.rows, ensure_ascii=False, indent=2).encode()


def _as_lines(dataset: Dataset) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dataset.rows).encode()
