"""The developer UI's app: telemetry and pages in one, behind the guard.

How to add a screen `things`
----------------------------
1. `screens/things.py` ends with a `Screen`, which is found by being there::

       def routes(ui: Ui) -> list[Route]:
           async def page(request: Request) -> Response:
               actions = await ui.runtimes.list_actions()          # GenkitError becomes an error page with its hint
               return await ui.page(request, "things/page.html", actions=actions)

           async def save(request: Request) -> Response:            # JSON in, JSON out; GenkitError becomes JSON
               body = await json_object(request)
               return json_response({"saved": (await ui.runtimes.call("/util/x/save", body)).result})

           return [Route("/things", page), Route("/things/save", save, methods=["POST"])]

       screen = Screen("Things", "/things", "index", order=40, routes=routes)

   GET is pure; whatever writes is POST, PUT or DELETE with JSON (the guard refuses all else, also forms).
   An app that is not connected is no failure: `ui.page(...)` knows `runtime` (None then); `ui.runtimes.list_actions()`
   raises UNAVAILABLE, and the error page says how to start one.
2. `templates/things/page.html` extends `base.html`, fills the blocks `title`, `actions` (buttons right of the title),
   `content` and `scripts` (`<script type="module" src="{{ static('things.js') }}"></script>`), and uses the macros of
   `macros.html`: `icon(name)`, `badge(text, tone)`, `kind(name)`, `empty(title, text)`, `json(value)`, `meter(share)`.
   Nothing is marked safe, no inline script, no `style=` attribute (the Content-Security-Policy refuses both: set
   positions as SVG attributes, or from JavaScript with `element.style.setProperty`).
   The page shows what it can before JavaScript runs.
3. `static/things.js` is an ES module and imports from its neighbours:
   `api.js` (`getJson postJson deleteJson runAction liveEvents`), `dom.js` (`h fragment announce $ $$ formatMs`),
   `json_view.js` (`jsonView enhanceJson`), `schema_form.js` (`SchemaForm`), `table.js` (tables with `data-sortable`
   sort by themselves). Text enters the page through `textContent` only: `h('td', {class: 'num'}, text)` does so.
4. Styles: the classes of `static/app.css` (`card`, `toolbar`, `field`, `button`, `table`, `split`, `badge`, `num`,
   `mono`, `muted`, `grid`...); what only one screen needs goes into `static/things.css`, linked in the block `head`.
5. Tests: `tests/browser/conftest.py` has the fixtures `dev` (a real app, a server, a signed-in URL) and `walk`; a
   screen is one line there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._server.dev_ui.screens import all_screens
from genkit_rag._server.dev_ui.shell import STATIC, shell_routes
from genkit_rag._server.dev_ui.ui import Ui, answer_error
from genkit_rag._server.guard import Guard
from genkit_rag._server.runtimes import Runtimes
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_policy, telemetry_routes
from genkit_rag._server.telemetry.live import Hub

with require_extra("dev", "starlette"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import BaseRoute, Mount


DATA = ".genkit_rag"
"""Where the UI keeps datasets and evaluations, at the project's root."""


def dev_app(
    project_root: str | Path,
    trace_store: TraceStore,
    token: str | None,
    *,
    data: str | Path | None = None,
    hosts: Iterable[str] = (),
    runtimes: Runtimes | None = None,
) -> Guard:
    """Create the guarded app with telemetry server and developer UI, ready for `serve`.

    `serve(guard).sign_in_url()` is what to open in the browser. The trace store stays the caller's to close.

    Args:
        project_root: The folder whose `.genkit/runtimes` names the app under observation.
        trace_store: Where traces are kept.
        token: What every request must show (see `GuardPolicy`); None asks for none.
        data: The folder of datasets and evaluations; `.genkit_rag` at the root by default.
        hosts: Further names by which the server may be called.
        runtimes: How the app is found, when not by the project's runtime files.

    Raises:
        MissingExtra: Starlette, Jinja2 or httpx is not installed.
    """
    hub = Hub()
    root = Path(project_root).resolve()
    folder = root / DATA if data is None else Path(data)
    ui = Ui(root, folder, trace_store, hub, runtimes or Runtimes(root), all_screens())
    errors = answer_error(ui)
    app = Starlette(
        routes=[*telemetry_routes(trace_store, hub), *_page_routes(ui)],
        exception_handlers={GenkitError: errors, HTTPException: errors, Exception: errors},
        lifespan=partial(_lifespan, ui),
    )
    return Guard(app, telemetry_policy(token, hosts=frozenset(hosts)))


def _page_routes(ui: Ui) -> list[BaseRoute]:
    routes: list[BaseRoute] = [*shell_routes(ui), Mount("/static", STATIC)]
    for screen in ui.screens:
        routes += screen.routes(ui)
    return routes


@asynccontextmanager
async def _lifespan(ui: Ui, _app: Starlette) -> AsyncGenerator[None]:
    yield
    for close in ui.closers:
        await close()
    await ui.runtimes.close()
