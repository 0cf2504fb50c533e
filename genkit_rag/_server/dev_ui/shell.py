"""What all screens share: the start page, static files, the state of the app, and running an action."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._server.dev_ui.ui import FOLDER, OWN_RUN, Ui, error_wire, json_object, json_response

with require_extra("dev", "starlette"):
    from starlette.requests import Request
    from starlette.responses import RedirectResponse, Response, StreamingResponse
    from starlette.routing import BaseRoute, Route
    from starlette.staticfiles import StaticFiles


class _Files(StaticFiles):
    """Files of the package, which a browser asks about again: they change with an upgrade."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


STATIC = _Files(directory=FOLDER / "static")


def shell_routes(ui: Ui) -> list[BaseRoute]:
    """Create the routes that all screens use."""
    shell = _Shell(ui)
    return [
        Route("/", shell.start),
        Route("/ui/runtime", shell.runtime),
        Route("/ui/runtime", shell.choose, methods=["POST"]),
        Route("/ui/actions", shell.actions),
        Route("/ui/run", shell.run, methods=["POST"]),
        Route("/ui/cancel", shell.cancel, methods=["POST"]),
    ]


class _Shell:
    def __init__(self, ui: Ui) -> None:
        self._ui = ui

    async def start(self, request: Request) -> Response:
        return RedirectResponse(self._ui.screens[0].path, 307)

    async def runtime(self, request: Request) -> Response:
        alive = await self._ui.runtimes.alive()
        return json_response(
            {
                "runtime": alive[0].to_wire() if alive else None,
                "others": [one.to_wire() for one in alive[1:]],
            }
        )

    async def choose(self, request: Request) -> Response:
        runtime_id = (await json_object(request)).get("id")
        if not isinstance(runtime_id, str):
            raise invalid("id", runtime_id, "must be the id of a running app")
        return json_response({"runtime": (await self._ui.runtimes.choose(runtime_id)).to_wire()})

    async def actions(self, request: Request) -> Response:
        return json_response(await self._ui.runtimes.list_actions())

    async def run(self, request: Request) -> Response:
        """Run an action and stream one JSON object a line, as `Runtimes.run` yields them.

        A body with `own` marks a run of the screen itself, which the trace list hides by default.
        """
        body = await json_object(request)
        key, context = body.get("key"), body.get("context")
        if not isinstance(key, str):
            raise invalid("key", key, "must be `/<kind>/<name>`")
        if context is not None and not isinstance(context, dict):
            raise invalid("context", context, "must be an object")
        labels = OWN_RUN if body.get("own") else None
        events = self._ui.runtimes.run(key, body.get("input"), context=context, labels=labels)
        first = await anext(events)  # what is wrong before the start becomes an HTTP error
        return StreamingResponse(_ndjson(first, events), media_type="application/x-ndjson")

    async def cancel(self, request: Request) -> Response:
        trace_id = (await json_object(request)).get("traceId")
        if not isinstance(trace_id, str):
            raise invalid("traceId", trace_id, "must be the trace id of a run")
        return json_response({"cancelled": await self._ui.runtimes.cancel(trace_id)})


async def _ndjson(first: Any, events: AsyncGenerator[Any]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        yield _line(first)
        try:
            async for event in events:
                yield _line(event)
        except GenkitError as error:
            yield _line({"error": error_wire(error)})


def _line(event: Any) -> bytes:
    return json.dumps(event).encode() + b"\n"
