"""The one guard in front of every route of every server that we start.

Any page in a developer's browser can reach a server on the loopback, so being local protects nothing. The guard is
plain ASGI and decides from the request's head alone, in this order: the path's form, Host, Origin and Sec-Fetch-Site,
the method, the token, the media type, the declared length. Only then the body is read, within bounds, and checked;
only then the app runs.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from genkit_rag._core.errors import STATUS_CODES, GenkitError, Status, invalid
from genkit_rag._server import limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Head = dict[bytes, list[bytes]]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

_READS, _WRITES = frozenset({"GET", "HEAD"}), frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_SECURE = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}
_JSON = "application/json"


@dataclass(frozen=True)
class GuardPolicy:
    """The rules of a server's guard.

    Attributes:
        token: The secret of every request: `Authorization: Bearer` or `X-Genkit-Token` for programs, a cookie from a
            one-time
            URL (`Guard.sign_in_path`) for browsers. None requires none, for loopback servers that foreign programs use.
        hosts: Further values of Host, `name` or `name:port`, besides the address of the connection and, on the
            loopback, `localhost`, `127.0.0.1` and `[::1]`.
        browser: Whether pages of this server may call it; otherwise any Origin is rejected and no cookie is set.
        open_paths: Paths without a token (a health check); all other rules apply to them.
        media_types: For each path the media types of writes besides `application/json`.
        gzip_paths: Paths that accept gzip bodies.
        max_body: Bytes of a body, before and after decompression.
        max_depth: The maximum nesting of a JSON body.
        max_headers: The maximum number of header fields.
        max_header_bytes: Their maximum total size.
        body_seconds: Timeout for receiving a body.
        content_security_policy: Sent with every response.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    browser: bool = True
    open_paths: frozenset[str] = frozenset()
    media_types: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    gzip_paths: frozenset[str] = frozenset()
    max_body: int = 4 * 1024 * 1024
    max_depth: int = 64
    max_headers: int = 100
    max_header_bytes: int = 32_768
    body_seconds: float = 10.0
    content_security_policy: str = CONTENT_SECURITY_POLICY

    def __post_init__(self) -> None:
        if self.token is not None and not (len(self.token) >= 16 and self.token.isascii()):
            raise GenkitError(  # which must not say what it was
                "INVALID_ARGUMENT", "`token` must have at least 16 ASCII characters.", hint="Use `new_token()`."
            )
        for host in self.hosts:
            if not host or "*" in host or "/" in host or host != host.lower():
                raise invalid("hosts", host, "must be lower-case names or name:port, without wildcards")


def new_token() -> str:
    """Return a random session token of 256 bits."""
    return secrets.token_urlsafe(32)


class Refusal(Exception):
    """A rejected request: the HTTP status code and the text of the small JSON body."""

    def __init__(self, http: int, status: Status, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status: Status = status
        self.http, self.message, self.hint = http, message, hint

    def body(self) -> bytes:
        """Return the JSON body, which repeats nothing of the request."""
        wire: dict[str, Any] = {"code": STATUS_CODES[self.status], "message": self.message, "details": {}}
        return json.dumps(wire | ({"hint": self.hint} if self.hint else {})).encode()


class Guard:
    """An ASGI app that lets through to `app` what its policy allows."""

    def __init__(self, app: AsgiApp, policy: GuardPolicy | None = None) -> None:
        self.app = app
        self.policy = policy or GuardPolicy()
        self._codes: set[str] = set()  # one-time sign-in codes not used yet
        self._cookie_secret = secrets.token_urlsafe(32)  # a browser never learns the token itself
        self._running: set[asyncio.Task[Any]] = set()
        self._closing = False

    def sign_in_path(self) -> str:
        """Return `/?token=...`, which signs one browser in, once; append it to the server's URL.

        The code in it is not the session token: what stays in a history or a log is worthless after its first use.
        """
        if self.policy.token is None or not self.policy.browser:
            return "/"
        code = secrets.token_urlsafe(32)
        self._codes.add(code)
        return f"/?token={code}"

    async def close(self, grace: float = 0.25) -> None:
        """End all open requests; those that do not end within `grace` seconds, such as streams, are cancelled."""
        self._closing = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace)
        for task in set(self._running):
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._closing = False
            return await self.app(scope, receive, send)
        if scope["type"] not in ("http", "websocket"):
            return
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await (self._http if scope["type"] == "http" else self._websocket)(scope, receive, send)
        finally:
            self._running.discard(task)

    # -- WebSocket

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = self._admit(scope)
            self._authenticate(scope, head)
        except Refusal:
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            await self._cut(send, {"type": "websocket.close", "code": 1001})

    # -- HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, self.policy)
        try:
            head = self._admit(scope)
            if await self._signs_in(scope, head, answer):
                return
            self._authenticate(scope, head)
            receive = await self._bounded(scope, head, receive)
        except limits.Disconnected:
            return
        except Refusal as refusal:
            return await answer.refuse(refusal)
        except GenkitError as error:
            http = int(error.details.get("http", error.http_code))
            return await answer.refuse(Refusal(http, error.status, error.message, error.hint or ""))
        try:
            await self.app(scope, receive, answer)
        except asyncio.CancelledError:
            if answer.started:
                await self._cut(send, {"type": "http.response.body", "body": b""})
                return
            self._uncancel()
            await answer.refuse(Refusal(503, "UNAVAILABLE", "The server is closing."))

    async def _cut(self, send: Send, last: Message) -> None:
        self._uncancel()
        await send(last)

    def _uncancel(self) -> None:
        task = asyncio.current_task()
        if not self._closing or task is None:
            raise asyncio.CancelledError  # not ours: somebody else cancelled the request
        task.uncancel()

    # -- the head of a request

    def _admit(self, scope: Scope) -> Head:
        """Return the headers of a request with valid form, Host, origin and method; otherwise raise `Refusal`."""
        head: Head = {}
        for name, value in scope["headers"]:
            head.setdefault(name.lower(), []).append(value)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if not raw.startswith(b"/") or raw.startswith(b"//"):
            raise Refusal(421, "INVALID_ARGUMENT", "The request target must be a path.")
        host = self._host(scope, head)
        self._origin(scope, head, host)
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if len(scope["headers"]) > self.policy.max_headers or size > self.policy.max_header_bytes:
            raise Refusal(431, "RESOURCE_EXHAUSTED", "The header is too large.")
        if scope["type"] == "http" and scope["method"] not in _READS | _WRITES:
            raise Refusal(405, "UNIMPLEMENTED", "The method is not allowed.")
        return head

    def _host(self, scope: Scope, head: Head) -> str:
        hosts = head.get(b"host", [])
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if host not in self.policy.hosts and host not in _own_hosts(scope):
            name, _, port = host.rpartition(":")
            if not (port.isdigit() and name in self.policy.hosts):
                raise Refusal(
                    421,
                    "PERMISSION_DENIED",
                    "The Host header does not name this server.",
                    "Open the URL that the server printed, or add the name to the server's `hosts`.",
                )
        return host

    def _origin(self, scope: Scope, head: Head, host: str) -> None:
        scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
        own = [f"{scheme}://{host}".encode()] if self.policy.browser else []
        origins, sites = head.get(b"origin", []), head.get(b"sec-fetch-site", [])
        if origins not in ([], own) or sites not in ([], [b"same-origin"], [b"none"]):
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                "Requests from other origins are refused.",
                "Open the server's own page by typing or pasting its URL.",
            )

    # -- the token

    async def _signs_in(self, scope: Scope, head: Head, answer: _Answer) -> bool:
        """Handle a one-time URL: set the cookie, redirect to the bare URL and return True."""
        if scope["method"] != "GET" or scope["path"] != "/" or not scope["query_string"].startswith(b"token="):
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        code = next((one for one in self._codes if _same(one, given)), None)
        if code is None and not self._has_cookie(scope, head):
            raise Refusal(401, "UNAUTHENTICATED", "The one-time URL is not valid any more.", "Ask for a new one.")
        self._codes.discard(code or "")
        cookie = f"{_cookie_name(scope)}={self._cookie_secret}; Path=/; HttpOnly; SameSite=Strict"
        if scope.get("scheme") == "https":
            cookie += "; Secure"
        await answer.plain(303, [(b"location", b"/"), (b"set-cookie", cookie.encode())])
        return True

    def _authenticate(self, scope: Scope, head: Head) -> None:
        token = self.policy.token
        if token is None or scope["path"] in self.policy.open_paths:
            return
        shown = [value.decode("latin-1") for value in head.get(b"x-genkit-token", [])]
        for value in head.get(b"authorization", []):
            kind, _, secret = value.decode("latin-1").partition(" ")
            shown += [secret.strip()] if kind.lower() == "bearer" else []
        if not any(_same(token, one) for one in shown) and not self._has_cookie(scope, head):
            raise Refusal(
                401,
                "UNAUTHENTICATED",
                "The request shows no valid token.",
                "Open the one-time URL that the server printed, or send the token as X-Genkit-Token.",
            )

    def _has_cookie(self, scope: Scope, head: Head) -> bool:
        if not self.policy.browser:
            return False
        wanted = _cookie_name(scope)
        pairs = (
            pair.strip().partition("=")
            for line in head.get(b"cookie", [])
            for pair in line.decode("latin-1").split(";")
        )
        return any(name == wanted and _same(self._cookie_secret, value) for name, _, value in pairs)

    # -- the body

    async def _bounded(self, scope: Scope, head: Head, receive: Receive) -> Receive:
        """Return a `receive` that delivers the checked body as one message, then later messages."""
        length = _declared(head)
        if scope["method"] in _READS:
            if length or b"transfer-encoding" in head:
                raise Refusal(400, "INVALID_ARGUMENT", "A request that only reads has no body.")
            return _replay(b"", receive)
        media = self._media_type(scope, head)
        encoded = head.get(b"content-encoding", [b"identity"])
        if encoded != [b"identity"] and not (encoded == [b"gzip"] and scope["path"] in self.policy.gzip_paths):
            raise Refusal(415, "INVALID_ARGUMENT", "The content encoding is not supported here.")
        if length > self.policy.max_body:
            raise limits.too_large(self.policy.max_body)
        body = await limits.read_body(receive, self.policy.max_body, self.policy.body_seconds)
        if encoded == [b"gzip"]:
            body = await limits.decompress(body, self.policy.max_body)
        if media == _JSON:
            await limits.check_depth(body, self.policy.max_depth)
        drop = {b"content-encoding", b"content-length", b"transfer-encoding"}
        scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() not in drop]
        scope["headers"].append((b"content-length", str(len(body)).encode()))
        return _replay(body, receive)

    def _media_type(self, scope: Scope, head: Head) -> str:
        given = head.get(b"content-type", [])
        media = given[0].decode("latin-1").partition(";")[0].strip().lower() if len(given) == 1 else ""
        if media != _JSON and media not in self.policy.media_types.get(scope["path"], frozenset()):
            raise Refusal(415, "INVALID_ARGUMENT", "The body must be application/json.", "Set Content-Type.")
        return media


class _Answer:
    """A `send` that puts the security headers on every response and takes CORS headers off."""

    def __init__(self, send: Send, policy: GuardPolicy) -> None:
        self._send = send
        self._fixed = _SECURE | {b"content-security-policy": policy.content_security_policy.encode()}
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", [])]
            kept = [(n, v) for n, v in given if n not in self._fixed and not n.startswith(b"access-control-")]
            if not any(name == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*kept, *self._fixed.items()]}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        # Close without draining the body.
        await self.plain(
            refusal.http, [(b"content-type", b"application/json"), (b"connection", b"close")], refusal.body()
        )

    async def plain(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _own_hosts(scope: Scope) -> set[str]:
    """Return the Host values of the address that received the connection."""
    address, port = scope.get("server") or ("", None)
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return set()
    names = [f"[{ip}]" if ip.version == 6 else str(ip), *(_LOOPBACK_NAMES if ip.is_loopback else ())]
    usual = 443 if scope.get("scheme") in ("https", "wss") else 80
    return {f"{name}:{port}" for name in names} | (set(names) if port in (usual, None) else set())


def _cookie_name(scope: Scope) -> str:
    # Browsers share cookies between the ports of a host: each server has its own name.
    return f"genkit_rag_{(scope.get('server') or ('', 0))[1]}"


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode("utf-8", "surrogateescape"))


def _declared(head: Head) -> int:
    lengths = head.get(b"content-length", [])
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 15 or b"transfer-encoding" in head:
        raise Refusal(400, "INVALID_ARGUMENT", "The Content-Length is not one number.")
    return int(lengths[0])


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
