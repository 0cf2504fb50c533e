"""What every screen is given: the app under observation, the traces, and pages made of templates."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, Status, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._server.dev_ui import formats
from genkit_rag._server.runtimes import Runtimes
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.live import Hub

with require_extra("dev", "starlette", "jinja2"):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import BaseRoute

logger = logging.getLogger("genkit_rag.dev_ui")

FOLDER = Path(__file__).parent

OWN_RUN = {"genkitx:run-by": "developer-ui"}
"""The label of what screens run to fill themselves; the list of traces leaves it out."""

_PARSED_INLINE = 65_536


@dataclass(frozen=True)
class Screen:
    """One entry of the navigation.

    Attributes:
        title: The title in the navigation.
        path: The URL path.
        icon: One of the icons in `macros.html`.
        order: The position: actions 10, traces 20, playground 30, indexes 40, evaluate 50, prompts 60.
        routes: A function of the `Ui` that returns its routes.
    """

    title: str
    path: str
    icon: str
    order: int
    routes: Callable[[Ui], Sequence[BaseRoute]]


class Ui:
    """The services of the screens.

    Attributes:
        root: The project's root.
        data: For datasets and evaluations.
        store: The traces.
        hub: Live news of them.
        runtimes: The app under observation.
        screens: The navigation.
        closers: What screens want to be called when the server stops.
    """

    def __init__(
        self, root: Path, data: Path, store: TraceStore, hub: Hub, runtimes: Runtimes, screens: Sequence[Screen]
    ) -> None:
        self.root, self.data = root, data
        self.store, self.hub, self.runtimes, self.screens = store, hub, runtimes, screens
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.policies["json.dumps_kwargs"] = {"sort_keys": False}  # a schema's fields have an order
        self._templates.filters.update(formats.FILTERS)
        cast(dict[str, Any], self._templates.globals)["static"] = _static

    async def page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page; its template also has `screens`, `path`, `project` and `runtime` (None without an app)."""
        runtime = await self.runtimes.current()
        shell: dict[str, Any] = {
            "screens": self.screens,
            "path": request.url.path,
            "project": self.root.name,
            "runtime": runtime,
        }
        return HTMLResponse(await self.render(template, **shell, **context), status)

    async def fragment(self, template: str, **context: Any) -> Response:
        """Render a part of a page, which a script inserts."""
        return HTMLResponse(await self.render(template, **context))

    async def render(self, template: str, **context: Any) -> str:
        """Render a template to text; everything in the context is escaped."""
        return await run_in_thread(lambda: self._templates.get_template(template).render(context))


def _static(name: str) -> str:
    return f"/static/{name}"


def json_response(value: Any, status: int = 200) -> Response:
    """Create a JSON response."""
    return JSONResponse(value, status)


async def json_object(request: Request) -> dict[str, Any]:
    """Parse the body of a request as a JSON object; INVALID_ARGUMENT for others."""
    body = await request.body()
    try:
        found = json.loads(body) if len(body) <= _PARSED_INLINE else await run_in_thread(json.loads, body)
    except ValueError as error:
        raise GenkitError("INVALID_ARGUMENT", f"The body is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise GenkitError("INVALID_ARGUMENT", "The body must be a JSON object.")
    return cast(dict[str, Any], found)


def error_wire(error: GenkitError) -> dict[str, Any]:
    """Convert an error to the form that the scripts of the pages read."""
    wire = {"code": error.code, "status": error.status, "message": error.message, "details": error.details}
    return wire | ({"hint": error.hint} if error.hint else {})


def answer_error(ui: Ui) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Create the error handler of routes: it answers with a page if one was requested, otherwise with JSON."""

    async def handle(request: Request, raised: Exception) -> Response:
        error, http = _as_genkit_error(raised)
        if "text/html" not in request.headers.get("accept", "") or request.method not in ("GET", "HEAD"):
            return json_response(error_wire(error), http)
        return await ui.page(request, "error.html", http, error=error, http=http)

    return handle


def _as_genkit_error(raised: Exception) -> tuple[GenkitError, int]:
    if isinstance(raised, GenkitError):
        return raised, raised.http_code
    if isinstance(raised, HTTPException):
        status: Status = "NOT_FOUND" if raised.status_code == 404 else "UNIMPLEMENTED"
        hint = "The navigation shows what there is." if raised.status_code == 404 else None
        return GenkitError(status, f"{raised.detail}.", hint=hint), raised.status_code
    logger.error("a page failed", exc_info=raised)
    message = "This page failed; the log of the server says why."
    return GenkitError("INTERNAL", message, details={"error": type(raised).__name__}), 500
