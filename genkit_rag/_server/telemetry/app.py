"""The telemetry server: Genkit's trace routes, OTLP/HTTP, live streams; all behind the guard."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._server.guard import Guard, GuardPolicy
from genkit_rag._server.telemetry import otlp
from genkit_rag._server.telemetry.live import EventStream, Hub, event_text
from genkit_rag._server.telemetry.query import Condition, TraceQuery, parse_filter
from genkit_rag._server.telemetry.store import TraceStore
from genkit_rag._server.telemetry.wire import SpanData, parse_trace

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

OTLP_PATHS = (
    "/api/otlp",
    "/api/otlp/v1/traces",
    "/api/otlp/v1/logs",
    "/api/otlp/v1/metrics",
    "/v1/traces",
    "/v1/logs",
    "/v1/metrics",
)
_TRACE_ID = re.compile("[0-9a-f]{32}")
_DROPPED = "This server keeps traces; {} are accepted and dropped."


def telemetry_policy(token: str | None = None, **more: Any) -> GuardPolicy:
    """Return the policy of a telemetry server: protobuf and gzip for OTLP, an open health check.

    Without a token any program on this machine may post, as Genkit's runtimes do.
    """
    return GuardPolicy(
        token=token,
        open_paths=frozenset({"/api/__health"}),
        media_types={path: frozenset({otlp.PROTOBUF}) for path in OTLP_PATHS},
        gzip_paths=frozenset({*OTLP_PATHS, "/api/traces"}),
        **more,
    )


def telemetry_app(store: TraceStore, policy: GuardPolicy | None = None, hub: Hub | None = None) -> Guard:
    """Create the guarded telemetry server, ready for `serve`; the caller closes the store.

    Raises:
        MissingExtra: Starlette is not installed.
    """
    require_extra("dev", "starlette")
    from starlette.applications import Starlette

    return Guard(Starlette(routes=telemetry_routes(store, hub or Hub())), policy or telemetry_policy())


def telemetry_routes(store: TraceStore, hub: Hub) -> list[Route]:
    """Create the routes, for an app that serves more than telemetry; they need `telemetry_policy`."""
    from starlette.routing import Route

    routes = _Routes(store, hub)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Any]]]] = [
        ("GET", "/api/__health", routes.health),
        ("GET", "/api/traces", routes.list_traces),
        ("POST", "/api/traces", routes.post_trace),
        ("GET", "/api/traces/{trace_id}", routes.get_trace),
        ("DELETE", "/api/traces/{trace_id}", routes.delete_trace),
        ("GET", "/api/traces/{trace_id}/stream", routes.stream_trace),
        ("GET", "/api/live", routes.live),
        ("GET", "/api/logs", routes.no_logs),
        ("GET", "/api/traces/{trace_id}/logs", routes.no_logs),
        ("GET", "/api/traces/{trace_id}/spans/{span_id}/logs", routes.no_logs),
        *(("POST", path, routes.post_otlp) for path in OTLP_PATHS),
    ]
    return [Route(path, _answers_errors(endpoint), methods=[method]) for method, path, endpoint in table]


class _Routes:
    def __init__(self, store: TraceStore, hub: Hub) -> None:
        self._store, self._hub = store, hub

    async def health(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse

        return PlainTextResponse("OK")

    async def list_traces(self, request: Request) -> Response:
        query = query_of(request.query_params)
        page = await run_in_thread(self._store.list_traces, query)
        if request.query_params.get("view") == "summary":
            wire: dict[str, Any] = {"traces": [one.to_wire() for one in page.traces]}
            return _json(wire | ({"continuationToken": page.next} if page.next else {}))
        roots = await run_in_thread(self._store.roots_json, page)
        token = f', "continuationToken": "{page.next}"' if page.next else ""
        return _json(f'{{"traces": {roots}{token}}}')

    async def get_trace(self, request: Request) -> Response:
        from starlette.responses import Response

        trace_id = _id(request)
        found = await run_in_thread(self._store.load_json, trace_id)
        # Genkit's clients take an empty answer for «not there (yet)».
        return _json(found) if found is not None else Response(status_code=200)

    async def post_trace(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse

        body = await request.body()
        await self._save(await run_in_thread(parse_trace, body))
        return PlainTextResponse("OK")

    async def delete_trace(self, request: Request) -> Response:
        trace_id = _id(request)
        if not await run_in_thread(self._store.delete, trace_id):
            raise GenkitError("NOT_FOUND", "There is no such trace.")
        self._hub.deleted(trace_id)
        return _json({"deleted": trace_id})

    async def stream_trace(self, request: Request) -> EventStream:
        trace_id = _id(request)
        listener = self._hub.subscribe(trace_id)  # before the snapshot: nothing falls between the two
        try:
            found = await run_in_thread(self._store.load_json, trace_id)
        except BaseException:
            self._hub.unsubscribe(listener)
            raise
        return EventStream(self._hub, listener, event_text(found) if found is not None else "")

    async def live(self, request: Request) -> EventStream:
        return EventStream(self._hub, self._hub.subscribe())

    async def no_logs(self, request: Request) -> Response:
        return _json({"logs": []})

    async def post_otlp(self, request: Request) -> Response:
        from starlette.responses import Response

        last = request.url.path.rpartition("/")[2]
        signal: otlp.Signal = "logs" if last == "logs" else "metrics" if last == "metrics" else "traces"
        protobuf = request.headers["content-type"].partition(";")[0].strip().lower() == otlp.PROTOBUF
        body = await request.body()
        spans, rejected, message = await run_in_thread(_read_otlp, body, signal, protobuf)
        if spans:
            await self._save(spans)
        answer = otlp.answer(signal, rejected, message, protobuf=protobuf)
        return Response(answer, media_type=otlp.PROTOBUF) if isinstance(answer, bytes) else _json(answer)

    async def _save(self, spans: list[SpanData]) -> None:
        changed, summaries = await run_in_thread(self._store.save, spans)
        self._hub.saved(changed, summaries)


def query_of(parameters: Any) -> TraceQuery:
    """Parse the query of a URL.

    Genkit's parameters are `limit` (10), `continuationToken` and `filter` (JSON); ours `q` (words), `name`, `kind`,
    `status`, `minLatency` (ms), `since`, `until` (ms) and `scope=any` for conditions on any span.
    """
    where = list(parse_filter(parameters["filter"])) if parameters.get("filter") else []
    where += [Condition(name, "eq", parameters[name]) for name in ("name", "kind", "status") if parameters.get(name)]
    for name, field, operator in (
        ("minLatency", "latency", "gte"),
        ("since", "start", "gte"),
        ("until", "start", "lt"),
    ):
        if parameters.get(name):
            where.append(Condition(field, operator, _number(name, parameters[name])))  # type: ignore[arg-type]
    return TraceQuery(
        limit=int(_number("limit", parameters.get("limit") or "10")),
        after=parameters.get("continuationToken") or None,
        where=tuple(where),
        any_span=parameters.get("scope") == "any",
        text=parameters.get("q") or "",
    )


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 2**53:
        raise invalid(name, text, "must be a number")
    return number


def _read_otlp(body: bytes, signal: otlp.Signal, protobuf: bool) -> tuple[list[SpanData], int, str]:
    request = otlp.parse_protobuf(body, signal) if protobuf else otlp.parse_json(body)
    if signal == "traces":
        spans, rejected = otlp.to_spans(request)
        return spans, rejected, "Spans with a malformed id or time."
    return [], otlp.count(request, signal), _DROPPED.format("log records" if signal == "logs" else "metrics")


def _id(request: Request) -> str:
    trace_id: str = request.path_params["trace_id"]
    if not _TRACE_ID.fullmatch(trace_id):
        raise GenkitError("INVALID_ARGUMENT", "A trace id has 32 lower-case hex digits.")
    return trace_id


def _json(value: Any, status: int = 200) -> Response:
    from starlette.responses import JSONResponse, Response

    if isinstance(value, str):  # JSON already
        return Response(value, status_code=status, media_type="application/json")
    return JSONResponse(value, status_code=status)


def _answers_errors(endpoint: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
    """Wrap an endpoint to return `GenkitError`s as small JSON responses; other errors never show their text."""

    async def call(request: Request) -> Any:
        try:
            return await endpoint(request)
        except GenkitError as error:
            wire = {"code": error.code, "message": error.message, "details": {}}
            return _json(wire | ({"hint": error.hint} if error.hint else {}), error.http_code)

    return call
