"""Limits for fetching, and validation of URLs."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._net.addresses import Address, refusal

if TYPE_CHECKING:
    import httpx

_SCHEMES = ("http", "https")
_STANDARD_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024
_MAX_URL = 4096
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*", re.IGNORECASE)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=//)[^/?#]*@")
_SECRET = re.compile(
    r"([?&][^=&#]*(?:key|token|secret|sig|signature|password|passwd|auth|credential)[^=&#]*=)[^&#]+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Limits for fetching URLs from untrusted sources; the default reaches public servers only.

    Attributes:
        allow_private_networks: Whether loopback and private networks may be reached. Link-local addresses and the
            metadata services of clouds are never reached.
        allow_hosts: Hosts that may be reached at any address: `host`, or `host:port` for one port.
        content_types: Accepted media types, with `*` as wildcard; None for all.
        max_bytes: The maximum size of a body, also after decompression.
        max_redirects: The maximum number of redirects; each target is checked like the first URL.
        connect_seconds: Timeout of name resolution and connection.
        read_seconds: Timeout between two received bytes.
        total_seconds: Timeout of everything, redirects included.
    """

    allow_private_networks: bool = False
    allow_hosts: tuple[str, ...] = ()
    content_types: tuple[str, ...] | None = None
    max_bytes: int = 20 * 1024 * 1024
    max_redirects: int = 5
    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    total_seconds: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.allow_hosts, str):
            raise invalid("allow_hosts", self.allow_hosts, "must be a tuple", hint=f"Write ({self.allow_hosts!r},).")
        if isinstance(self.content_types, str):
            raise invalid("content_types", self.content_types, "must be a tuple or None")
        for host in self.allow_hosts:
            if "/" in host or "@" in host or not host:
                raise invalid("allow_hosts", host, "must be a host name or address", hint="Such as 'localhost:8000'.")
        if self.max_bytes < 1:
            raise invalid("max_bytes", self.max_bytes, "must be at least 1")
        if self.max_redirects < 0:
            raise invalid("max_redirects", self.max_redirects, "must not be negative")
        for argument in ("connect_seconds", "read_seconds", "total_seconds"):
            if not 0 < getattr(self, argument) < float("inf"):
                raise invalid(argument, getattr(self, argument), "must be a positive number of seconds")

    def names_host(self, host: str, port: int) -> bool:
        """Return whether the host is allowed by its name."""
        bare = host.strip("[]").rstrip(".").lower()
        names = {bare, f"{bare}:{port}", f"[{bare}]", f"[{bare}]:{port}"}
        return any(allowed.rstrip(".").lower() in names for allowed in self.allow_hosts)

    def takes(self, content_type: str) -> bool:
        """Return whether bodies of a media type are accepted."""
        return self.content_types is None or any(fnmatchcase(content_type, wanted) for wanted in self.content_types)

    def check_address(self, address: Address) -> None:
        """Raise Refused for an address that may not be reached."""
        reason = refusal(address, allow_private=self.allow_private_networks)
        if reason is not None:
            raise Refused(f"{address} is {reason}")


class Refused(Exception):
    """Why an address is not connected to; it becomes an error where the URL is known."""


def shown_url(url: object) -> str:
    """Return a URL for messages: without credentials, keys and signatures."""
    text = _SECRET.sub(r"\1...", _CREDENTIALS.sub("", str(url)))
    return text if len(text) <= 300 else f"{text[:297]}..."


def blocked(url: object, reason: str) -> GenkitError:
    """Create the error for a URL at an address that the policy does not allow."""
    return GenkitError(
        "PERMISSION_DENIED",
        f"{shown_url(url)} is not fetched: {reason}.",
        hint="If you trust it, pass allow_hosts=('host:port',) or allow_private_networks=True in the FetchPolicy.",
        details={"url": shown_url(url), "reason": reason},
    )


def wrong_url(url: object, problem: str) -> GenkitError:
    """Create the error for a URL that cannot be fetched under any policy."""
    shown = shown_url(url)
    return GenkitError(
        "INVALID_ARGUMENT",
        f"{shown} is not fetched: {problem}.",
        hint="Write http:// or https://, a host name or an address in its usual form, and no user or password.",
        details={"url": shown, "reason": problem},
    )


def check_url(url: str | httpx.URL, policy: FetchPolicy) -> httpx.URL:
    """Validate a URL and return its normal form without the fragment.

    An address in the URL is checked here, a host name when it is resolved.
    """
    import httpx

    text = str(url)
    if len(text) > _MAX_URL:
        raise wrong_url(text, f"it has more than {_MAX_URL} characters")
    if any(character <= " " or character in '\\\x7f"<>' for character in text):
        raise wrong_url(text, "it has characters that no URL has")
    try:
        parsed = httpx.URL(text).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError) as error:
        raise wrong_url(text, f"it cannot be parsed ({shown_url(error)})") from error
    if parsed.scheme not in _SCHEMES:
        raise wrong_url(text, f"its scheme is not one of {', '.join(_SCHEMES)}")
    if parsed.userinfo or "@" in re.split("[/?#]", text.partition("//")[2], maxsplit=1)[0]:
        raise wrong_url(text, "it has a user or a password")
    host = parsed.raw_host.decode("ascii").rstrip(".")
    port = {"http": 80, "https": 443}[parsed.scheme] if parsed.port is None else parsed.port
    _check_host(text, host, port, policy)
    return parsed.copy_with(host=host)


def _check_host(url: str, host: str, port: int, policy: FetchPolicy) -> None:
    address = literal(host)
    if address is None:
        # Systems read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1, so a host whose last part is a number is not a
        # name.
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise wrong_url(url, "its host is an address in an unusual form")
        if not _NAME.fullmatch(host):
            raise wrong_url(url, "its host is not a name")
    if not 0 < port < 65536:
        raise wrong_url(url, f"there is no port {port}")
    if policy.names_host(host, port):
        return
    if port not in _STANDARD_PORTS and port < _FIRST_FREE_PORT:
        raise blocked(url, f"port {port} belongs to another service (80, 443 and those from 1024 are allowed)")
    if address is not None:
        try:
            policy.check_address(address)
        except Refused as error:
            raise blocked(url, str(error)) from None


def literal(host: str) -> Address | None:
    """Return the address that a URL's host contains; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
