"""Secrets go in at every door of an app, and come out of none: not in traces, logs, error bodies, or exports."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_app
from tests.server.test_reflection_lifecycle import Program, program

pytestmark = pytest.mark.network

WHERE = (
    "environment",
    "dsn",
    "request_header",
    "sent_header",
    "userinfo",
    "query_key",
    "config_api_key",
    "tool_password",
    "tool_client_secret",
    "bearer",
    "sk_key",
    "retry",
    "context",
    "init",
    "label",
    "offered_url",
    "wrong_input",
    "logged",
    "chained",
    "chunk",
    "connection_string",
    "cookie",
)
CANARIES = {where: f"cnry{number:02}Zq8vW3xK7nB5tR1m" for number, where in enumerate(WHERE)}
ENVIRONMENT = {
    "SHOP_API_KEY": CANARIES["environment"],
    "DATABASE_URL": f"postgresql://shop:{CANARIES['dsn']}@db.example:5432/orders",
}
NAMES = ("remembers", "dials", "answers", "works", "dies", "streams", "wraps", "typed")

APP = """
import asyncio, json, logging, os, sys
import httpx
from genkit_rag import ActionContext, Genkit, GenkitError, ToolRequest, retry
from genkit_rag.plugin_api import Message, ModelRequest, ModelResponse, Part
from pydantic import BaseModel

logging.basicConfig(level=logging.WARNING)
logging.getLogger("genkit_rag").setLevel(logging.DEBUG)
shop = logging.getLogger("genkit_rag.shop")  # as a plugin of ours has one
C = json.loads(os.environ.pop("CANARIES"))
ECHO = os.environ["ECHO"]
ai = Genkit()

class Order(BaseModel):
    count: int
    api_key: int = 0

async def model(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    if request.tools and len(request.messages) == 1:
        given = {"city": "Oslo", "password": C["tool_password"], "oauth": {"client_secret": C["tool_client_secret"]}}
        call = ToolRequest(name="login", ref="1", input=given)
        return ModelResponse(message=Message(role="model", content=[Part(tool_request=call)]))
    return ModelResponse(message=Message.model("Oslo, and the key is " + os.environ["SHOP_API_KEY"]))

ai.define_model("shop/model", model)
attempts = []

async def flaky(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    attempts.append(1)
    if len(attempts) == 1:
        raise GenkitError("UNAVAILABLE", "Oslo is down: POST /v1 headers={'x-api-key': '" + C["retry"] + "'}")
    return ModelResponse(message=Message.model("Oslo"))

ai.define_model("shop/flaky", flaky)

@ai.tool
def login(city: str, password: str, oauth: dict) -> str:
    "Logs in."
    return f"logged in to {city} with password={password}"

@ai.flow
async def remembers(_: str, ctx: ActionContext) -> str:
    raise ValueError("Oslo does not answer at " + os.environ["DATABASE_URL"])

@ai.flow
async def dials(_: str) -> str:
    async with httpx.AsyncClient(headers={"X-Goog-Api-Key": C["sent_header"]}) as client:
        host = ECHO.removeprefix("http://")
        url = f"http://oslo:{C['userinfo']}@{host}/v1?key={C['query_key']}&city=Oslo"
        reply = await client.get(url, headers={"Cookie": "session_token=" + C["cookie"]})
        sent = f"{reply.request.url} {dict(reply.request.headers)}"
        raise RuntimeError(f"{reply.status_code} from {url}: {sent}: {reply.text}")

@ai.flow
async def answers(_: str) -> str:
    config = {"temperature": 0.5, "apiKey": C["config_api_key"]}
    return (await ai.generate("Log in to Oslo.", model="shop/model", config=config, tools=["login"])).text

@ai.flow
async def works(_: str) -> str:
    return (await ai.generate("Oslo?", model="shop/flaky", use=[retry(initial_delay_ms=1)])).text

@ai.flow
async def dies(_: str) -> str:
    shop.warning("Oslo: Server=db;User Id=sa;Password=%s;", C["connection_string"])
    try:
        raise RuntimeError("401 for Authorization: Bearer " + C["logged"])
    except RuntimeError:
        shop.exception("Oslo could not be reached")
    raise RuntimeError(f"Oslo refused 'Bearer {C['bearer']}'; Incorrect API key provided: sk-{C['sk_key']}")

@ai.flow
async def streams(_: str, ctx: ActionContext) -> str:
    ctx.send_chunk({"city": "Oslo"})
    raise RuntimeError(f"Oslo after a chunk: api_key={C['chunk']}")

@ai.flow
async def wraps(_: str) -> str:
    try:
        raise KeyError("https://oslo.example/cb?access_token=" + C["chained"])
    except KeyError as error:
        raise RuntimeError("Oslo") from error

@ai.flow
async def typed(order: Order) -> str:
    return "Oslo"

async def main():
    return None
ai.run_main(main())
"""


def forms(canary: str) -> list[bytes]:
    """Returns the canary as it is, and as Base64 has it wherever it begins: `Basic` authorization is such."""
    shifted = [base64.b64encode(b"\0" * n + canary.encode())[4 if n else 0 : -4] for n in range(3)]
    return [canary.encode(), *shifted]


@contextlib.contextmanager
def collector() -> Iterator[tuple[str, bytearray]]:
    """An OTLP collector that keeps every byte, and a provider's API that answers by quoting the request."""
    kept = bytearray()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 31)
            kept.extend(body)
            self._answer(200, b"")

        def do_GET(self) -> None:
            quoted = json.dumps({"error": {"url": self.path, "headers": dict(self.headers)}})
            self._answer(401, f"Oslo: {quoted}".encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}", kept
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def drive(url: str) -> bytes:
    """Runs every flow, with secrets in the requests too; returns what failures say, byte by byte."""
    answers: list[bytes] = []
    headers = {"X-Api-Key": CANARIES["request_header"], "Authorization": f"Bearer {CANARIES['request_header']}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
        for offered in ("127.0.0.1:9", "oslo.example"):
            secret = f"http://user:{CANARIES['offered_url']}@{offered}"
            answers.append(client.post("/api/notify", json={"telemetryServerUrl": secret}).content)
        for name in NAMES:
            wrong = {"count": "many", "api_key": CANARIES["wrong_input"]}
            body = {
                "key": f"/flow/{name}",
                "input": wrong if name == "typed" else "Oslo",
                "context": {"auth": {"token": CANARIES["context"]}, "headers": {"x-api-key": CANARIES["context"]}},
                "init": {"api_key": CANARIES["init"]},
                "telemetryLabels": {"api_key": CANARIES["label"], "city": "Oslo"},
            }
            for path in ("/api/runAction", "/api/runAction?stream=true"):
                reply = client.post(path, json=body)
                if name not in ("answers", "works"):  # what an action returns is its caller's
                    assert b"error" in reply.content or reply.status_code == 400, (name, reply.content)
                    answers.append(reply.content)
                else:
                    assert b'"result"' in reply.content, (name, reply.content)
        answers.append(client.post("/api/runAction", json={"key": "/flow/none", "input": "Oslo"}).content)
    return b"\n".join(answers)


def read_traces(url: str, store: TraceStore, flows: int) -> bytes:
    """Returns every answer of the telemetry server, once the roots of all runs have ended."""
    due = time.monotonic() + 20
    while time.monotonic() < due:
        found = store.list_traces().traces
        if len(found) >= flows and all(one.status != "running" for one in found):
            break
        time.sleep(0.02)
    answers: list[bytes] = []
    with httpx.Client(base_url=url, trust_env=False) as client:
        for query in ("limit=100", "limit=100&view=summary", "limit=100&q=Oslo"):
            answers.append(client.get(f"/api/traces?{query}").content)
        for trace in json.loads(answers[0])["traces"]:
            answers.append(client.get(f"/api/traces/{trace['traceId']}").content)
            with client.stream("GET", f"/api/traces/{trace['traceId']}/stream") as stream:
                answers.append(next(stream.iter_bytes()))
        for where, canary in CANARIES.items():
            assert client.get(f"/api/traces?q={canary}").json() == {"traces": []}, where
    return b"\n".join(answers)


def run_it(folder: Path, made: Program, store: TraceStore, server: str) -> dict[str, bytes]:
    found = {"the error bodies of the reflection API": drive(made.runtime()["reflectionServerUrl"])}
    found["the answers of the telemetry server"] = read_traces(server, store, 2 * (len(NAMES) - 1))
    _, said = made.end(15)
    found["the log"] = said.encode()
    found["the trace store"] = b"".join(path.read_bytes() for path in (folder / "store").iterdir())
    return found


def test_no_canary_is_in_a_byte_of_what_leaves_the_app(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = TraceStore(tmp_path / "store" / "traces.db")
    with serve_in_thread(telemetry_app(store)) as served, collector() as (other, exported):
        settings = {
            **ENVIRONMENT,
            "ECHO": other,
            "CANARIES": json.dumps(CANARIES),
            "GENKIT_TELEMETRY_SERVER": served.url,
            "GENKIT_ENABLE_REALTIME_TELEMETRY": "true",
            "GENKIT_RAG_SPAN_WRITERS": "gen_ai,openinference",
            "OTEL_EXPORTER_OTLP_ENDPOINT": other,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with program(tmp_path, APP, **settings) as made:
            places = run_it(tmp_path, made, store, served.url)
        places["the OTLP export"] = bytes(exported)
    store.close()
    for place, said in places.items():
        assert b"Oslo" in said, f"{place}: nothing was looked at"
        for where, canary in CANARIES.items():
            for form in forms(canary):
                at = said.find(form)
                assert at < 0, (place, where, said[max(0, at - 200) : at + 60])
    assert b"[redacted]" in places["the log"]
    assert places["the answers of the telemetry server"].count(b"[redacted]") > len(CANARIES)
