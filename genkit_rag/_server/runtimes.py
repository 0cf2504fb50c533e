"""The apps under observation: found by their runtime files, spoken to by the reflection API (version 1) alone.

Nothing of an app is imported here, so every Genkit runtime will do, whatever language it is written in.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from genkit_rag._core.errors import STATUS_CODES, GenkitError, Status, require_extra
from genkit_rag._core.threads import run_in_thread

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

MAX_FILES, MAX_FILE_BYTES = 50, 65_536
"""Runtime files that are looked at, the newest first, and the size up to which one is read."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Of one chunk or result of an action."""

_STATUS_BY_CODE: dict[int, Status] = {number: name for name, number in STATUS_CODES.items()}
_NOT_CONNECTED = "Start your app with `genkit-rag start -- python app.py`, or with GENKIT_ENV=dev in this project."


@dataclass(frozen=True)
class Runtime:
    """A running app, as its runtime file describes it."""

    id: str
    pid: int
    url: str
    timestamp: float
    name: str = ""
    version: str = ""

    def to_wire(self) -> Json:
        """Convert to the form for the page."""
        return {"id": self.id, "pid": self.pid, "url": self.url, "name": self.name, "version": self.version}


@dataclass(frozen=True)
class Outcome:
    """The output of an action and the id of its trace."""

    result: Any
    trace_id: str


class Runtimes:
    """The running apps of one project; of several the chosen one is spoken to, else the newest that answers.

    Args:
        project_root: The folder with `.genkit/runtimes`.
        token: Sent to reflection APIs that ask for one (`GENKIT_REFLECTION_TOKEN` of the app).
        patience: Seconds for which an answer about health is believed.
    """

    def __init__(self, project_root: Path, *, token: str | None = None, patience: float = 1.0) -> None:
        self.folder = Path(project_root) / ".genkit" / "runtimes"
        self._headers = {"X-Genkit-Token": token} if token else {}
        self._patience = patience
        self._health: dict[str, tuple[float, bool]] = {}
        self._chosen: Runtime | None = None
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # -- who is there

    async def found(self) -> list[Runtime]:
        """Return the runtimes with a readable file, newest first, alive or not."""
        return await run_in_thread(read_runtimes, self.folder)

    async def choose(self, runtime_id: str) -> Runtime:
        """Select a runtime and return it; after its end the newest one of the same name takes over.

        NOT_FOUND when no app of that id answers.
        """
        for runtime in await self.alive():
            if runtime.id == runtime_id:
                self._chosen = runtime
                return runtime
        raise GenkitError("NOT_FOUND", f"No app with the id {runtime_id!r} answers.", hint="Choose one that runs.")

    def _preferred(self, found: list[Runtime]) -> list[Runtime]:
        chosen = self._chosen
        if chosen is None:
            return found
        return sorted(found, key=lambda one: (one.id != chosen.id, one.name != chosen.name))

    async def alive(self) -> list[Runtime]:
        """Return the runtimes that answer: the selected one, then the others, newest first."""
        found = self._preferred(await self.found())
        answers = await asyncio.gather(*(self._answers(runtime) for runtime in found))
        self._health = {runtime.id: self._health[runtime.id] for runtime in found}
        return [runtime for runtime, answer in zip(found, answers, strict=True) if answer]

    async def current(self) -> Runtime | None:
        """Return the selected runtime; None if none answers."""
        for runtime in self._preferred(await self.found()):
            if await self._answers(runtime):
                return runtime
        return None

    async def _answers(self, runtime: Runtime) -> bool:
        known = self._health.get(runtime.id)
        if known is not None and time.monotonic() - known[0] < self._patience:
            return known[1]
        import httpx

        try:
            address = f"{runtime.url}/api/__health"
            response = await self._http().get(address, params={"id": runtime.id}, headers=self._headers, timeout=2.0)
            healthy = response.status_code == 200
        except httpx.HTTPError:
            healthy = False
        self._health[runtime.id] = (time.monotonic(), healthy)
        return healthy

    async def _connected(self) -> Runtime:
        runtime = await self.current()
        if runtime is None:
            raise GenkitError("UNAVAILABLE", "No app is connected.", hint=_NOT_CONNECTED)
        return runtime

    # -- listing and running

    async def list_actions(self) -> dict[str, Json]:
        """Return the app's actions by key, as its reflection API describes them; UNAVAILABLE without an app."""
        found = await self._get("/api/actions")
        return {
            str(key): cast(Json, value) | {"key": str(key)} for key, value in found.items() if isinstance(value, dict)
        }

    async def values(self, kind: str) -> Json:
        """Return the app's registered values of a type (`defaultModel`, `middleware`); empty if it has none."""
        try:
            return await self._get("/api/values", {"type": kind})
        except GenkitError as error:
            if error.status in ("NOT_FOUND", "INVALID_ARGUMENT"):
                return {}
            raise

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        import httpx

        runtime = await self._connected()
        try:
            response = await self._http().get(runtime.url + path, params=params, headers=self._headers, timeout=30.0)
        except httpx.HTTPError as error:
            raise self._gone(runtime, error) from error
        body = await run_in_thread(_parse, response.content)
        if response.status_code != 200:
            raise failure(body, response.status_code)
        return body if isinstance(body, dict) else {}

    # -- running it

    async def run(
        self,
        key: str,
        value: Any = None,
        *,
        stream: bool = True,
        context: Json | None = None,
        labels: Json | None = None,
    ) -> AsyncGenerator[Json]:
        """Run an action: yield `{"traceId"}` first, `{"chunk"}` for each chunk, then `{"result"}` or `{"error"}`.

        The last one has the trace id too. Closing the generator cancels the action. Raises what is wrong before the
        action begins: UNAVAILABLE without an app, NOT_FOUND, INVALID_ARGUMENT with `details["problems"]`.
        """
        import httpx

        runtime = await self._connected()
        body = {"key": key, "input": value, "context": context, "telemetryLabels": labels}
        request = self._http().build_request(
            "POST",
            f"{runtime.url}/api/runAction",
            params={"stream": "true"} if stream else None,
            json={name: given for name, given in body.items() if given is not None},
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=5.0),
        )
        trace_id = ""
        try:
            response = await self._http().send(request, stream=True)
            async with aclosing(response):
                if response.status_code != 200:
                    raise failure(_parse(await response.aread()), response.status_code)
                trace_id = response.headers.get("x-genkit-trace-id", "")
                yield {"traceId": trace_id}
                async with aclosing(_lines(response)) as lines:
                    async for event in lines:
                        yield _event(event, trace_id)
        except httpx.HTTPError as error:
            gone = self._gone(runtime, error)
            yield {"error": {"code": gone.code, "message": f"{gone.message} {gone.hint}"}, "traceId": trace_id}

    async def call(
        self, key: str, value: Any = None, *, context: Json | None = None, labels: Json | None = None
    ) -> Outcome:
        """Run an action without streaming and return its output; raise its error as `GenkitError`."""
        async with aclosing(self.run(key, value, stream=False, context=context, labels=labels)) as events:
            async for event in events:
                if "error" in event:
                    raise failure(event["error"], 500, event["traceId"])
                if "result" in event:
                    return Outcome(event["result"], event["traceId"])
        raise GenkitError("DATA_LOSS", f"`{key}` ended without a result.")

    async def cancel(self, trace_id: str) -> bool:
        """Cancel the actions of a trace and return whether any was running."""
        import httpx

        runtime = await self._connected()
        try:
            response = await self._http().post(
                f"{runtime.url}/api/cancelAction", json={"traceId": trace_id}, headers=self._headers, timeout=5.0
            )
        except httpx.HTTPError as error:
            raise self._gone(runtime, error) from error
        return response.status_code == 200

    def _gone(self, runtime: Runtime, error: Exception) -> GenkitError:
        self._health.pop(runtime.id, None)
        return GenkitError(
            "UNAVAILABLE",
            "The app went away before it had answered.",
            hint="See its log; it may be restarting.",
            cause=error,
        )

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            require_extra("dev", "httpx")
            import httpx

            # Loopback only: no proxy of the environment may come between.
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and reads no certificates: 20 ms less
            self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=tls)
        return self._client


def read_runtimes(folder: Path) -> list[Runtime]:
    """Return the runtimes of a folder, newest first, without invalid files."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix == ".json"]
    except OSError:
        return []
    paths.sort(key=lambda path: path.name)
    found = (_read(path) for path in paths[-MAX_FILES * 4 :])
    kept = sorted((one for one in found if one is not None), key=lambda one: one.timestamp, reverse=True)
    return kept[:MAX_FILES]


def _read(path: Path) -> Runtime | None:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        facts = _parse(path.read_bytes())
        moment = datetime.fromisoformat(str(facts["timestamp"]).replace("_", ":"))
        if moment.tzinfo is None:  # others write local time without saying so
            moment = moment.astimezone(UTC)
        runtime = Runtime(
            str(facts["id"]),
            int(facts["pid"]),
            str(facts["reflectionServerUrl"]).rstrip("/"),
            moment.timestamp(),
            str(facts.get("name") or ""),
            str(facts.get("genkitVersion") or ""),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, GenkitError):
        return None
    return runtime if _is_local(runtime.url) else None


def _is_local(url: str) -> bool:
    """Return whether a URL is on this machine, since a file must not redirect to another one."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
        return local and parts.scheme == "http" and parts.username is None and parts.port is not None
    except ValueError:
        return False


async def _lines(response: httpx.Response) -> AsyncGenerator[Any]:
    """Yield the JSON values of a body, one a line; the last line break is optional."""
    rest = b""
    async for piece in response.aiter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield await _parsed(line)
        if len(rest) > MAX_LINE_BYTES:
            raise GenkitError("RESOURCE_EXHAUSTED", f"The app sent more than {MAX_LINE_BYTES} bytes at once.")
    if rest.strip():
        yield await _parsed(rest)


async def _parsed(line: bytes) -> Any:
    return _parse(line) if len(line) < 65_536 else await run_in_thread(_parse, line)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GenkitError("DATA_LOSS", "The app answered with what is not JSON.", cause=error) from None


def _event(value: Any, trace_id: str) -> Json:
    if isinstance(value, dict):
        given = cast(Json, value)
        telemetry = given.get("telemetry")
        if "error" in given and "result" not in given:
            return {"error": given["error"], "traceId": trace_id}
        if "result" in given and isinstance(telemetry, dict):
            return {"result": given["result"], "traceId": trace_id or str(telemetry.get("traceId", ""))}
    return {"chunk": value}


@dataclass(frozen=True)
class _Said:
    """The error of a runtime, which may have any form."""

    code: int = 13
    message: str = ""
    details: Json = field(default_factory=dict[str, Any])


def failure(body: Any, http: int, trace_id: str = "") -> GenkitError:
    """Convert an error of a reflection API to `GenkitError` with its `details`."""
    given = cast(Json, body) if isinstance(body, dict) else {}
    code, details = given.get("code"), given.get("details")
    said = _Said(
        code if isinstance(code, int) else 5 if http == 404 else 13,
        str(given.get("message") or f"The app answered with HTTP {http}."),
        dict(cast(Json, details)) if isinstance(details, dict) else {},
    )
    more = {"traceId": trace_id} if trace_id else {}
    return GenkitError(_STATUS_BY_CODE.get(said.code, "INTERNAL"), said.message, details=said.details | more)
