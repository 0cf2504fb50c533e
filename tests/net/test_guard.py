"""What somebody else names is fetched from public servers only, within bounds: attack by attack."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import GenkitError
from genkit_rag._net.addresses import refusal
from genkit_rag._net.fetch import Fetched, fetch, guarded_client
from genkit_rag._net.policy import FetchPolicy, check_url, shown_url
from genkit_rag._net.transport import Gunzip
from tests.fakes.serving import closed_port, serve
from tests.fakes.website import Answer, Internet, Website

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

ADDRESSES = [
    # loopback, however it is written
    "http://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://127.255.255.254/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://①②⑦.⓪.⓪.①/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http://127.0.0.1:8080/",
    # private networks
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.127.255.254/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[2002:a00:1::]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::a00:1]/",
    # metadata services, link-local, reserved
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://169.254.170.2/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://169.254.0.1/",
    "http://[fec0::1]/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://198.18.0.1/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://[2001:db8::1]/",
    "http://[2001::1]/",
    "http://[100::1]/",
    # other schemes and ports
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "gopher://example.com/_GET",
    "ftp://example.com/",
    "data:text/html,x",
    "javascript:alert(1)",
    "unix:///run/docker.sock",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///x",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:-1/",
    "http://example.com:x/",
    # URLs that parsers read differently
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://:@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1\\.example.com/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1%2f.example.com/",
    "http://exa mple.com/",
    "http://example.com\r\nhost: 127.0.0.1/",
    "http://example.com\t/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://example..com/",
    "http://.example.com/",
    f"http://{'a' * 64}.com/",
    f"http://example.com/{'a' * 5000}",
]


@dataclass
class World:
    site: Website
    internet: Internet

    def client(self, policy: FetchPolicy) -> Any:
        return guarded_client(policy, resolver=self.internet.resolve, network=self.internet)

    async def fetch(self, url: str, **policy: Any) -> Fetched:
        made = FetchPolicy(**policy)
        async with self.client(made) as client:
            return await fetch(url, made, client=client)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Website, str]]:
    site = Website()
    with serve(site) as url:
        yield site, url


@pytest.fixture
def world(served: tuple[Website, str]) -> World:
    """A site that is reached under every name and address that a test gives it."""
    site, url = served
    site.pages = {"/": "Welcome."}
    site.requests = []
    return World(site, Internet(url, {"example.com": [PUBLIC]}))


async def refused(fetching: Any, status: str = "PERMISSION_DENIED") -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await fetching
    assert caught.value.status == status, str(caught.value)
    return caught.value


# ---- where it may go


@pytest.mark.network
async def test_a_public_page_is_fetched(world: World) -> None:
    fetched = await world.fetch("http://example.com/")
    assert (fetched.status, fetched.body, fetched.content_type, fetched.charset) == (
        200,
        b"Welcome.",
        "text/html",
        "utf-8",
    )
    assert world.internet.connected == [(PUBLIC, 80)]
    assert world.site.requests[0].host == "example.com"


@pytest.mark.network
@pytest.mark.parametrize("url", ADDRESSES)
async def test_an_attack_by_the_url_opens_no_socket(world: World, url: str) -> None:
    world.internet.names = {host: [PUBLIC] for host in ("example.com", "0", "localhost")}
    with pytest.raises(GenkitError) as caught:
        await world.fetch(url)
    assert caught.value.status in ("PERMISSION_DENIED", "INVALID_ARGUMENT"), str(caught.value)
    assert caught.value.hint
    assert "reason" in caught.value.details
    assert (world.internet.connected, world.internet.looked_up) == ([], [])


@pytest.mark.network
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "intern.example.com",
        "127.0.0.1.nip.io",
        "xn--bcher-kva.example",
    ],
)
@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["::1"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["fe80::1%eth0"],
    ],
)
async def test_a_name_with_one_private_address_is_not_connected_to(
    world: World, host: str, addresses: list[str]
) -> None:
    world.internet.names = {host.lower().rstrip("."): addresses}
    error = await refused(world.fetch(f"http://{host}/"))
    assert world.internet.connected == []
    assert "allow_private_networks=True" in (error.hint or "")


@pytest.mark.network
async def test_an_international_name_is_resolved_and_sent_in_its_ascii_form(world: World) -> None:
    world.internet.names = {"xn--bcher-kva.example": [PUBLIC]}
    assert (await world.fetch("http://bücher.example/")).status == 200
    assert world.site.requests[0].host == "xn--bcher-kva.example"


@pytest.mark.network
async def test_a_name_that_is_public_at_the_check_and_private_later_is_connected_where_it_was_checked(
    world: World,
) -> None:
    world.internet.names = {"rebind.example": [[PUBLIC], ["127.0.0.1"]]}
    assert (await world.fetch("http://rebind.example/")).status == 200
    assert world.internet.connected == [(PUBLIC, 80)]
    assert world.internet.looked_up == ["rebind.example"]
    await refused(world.fetch("http://rebind.example/"))
    assert len(world.internet.connected) == 1


@pytest.mark.network
async def test_a_name_is_connected_at_its_next_address_when_one_does_not_answer(world: World) -> None:
    import httpcore

    reach = world.internet.connect_tcp

    async def connect(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == PUBLIC_6:
            world.internet.connected.append((host, 0))
            raise httpcore.ConnectError("unreachable")
        return await reach(host, *args, **kwargs)

    world.internet.connect_tcp = connect  # type: ignore[method-assign]
    world.internet.names = {"example.com": [PUBLIC_6, PUBLIC]}
    assert (await world.fetch("http://example.com/")).status == 200
    assert [host for host, _ in world.internet.connected] == [PUBLIC_6, PUBLIC]


@pytest.mark.network
@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/secret",
        "http://intern.example/secret",
        "//0x7f.1/secret",
        "file:///etc/passwd",
        "http://user@example.com/",
    ],
)
async def test_a_redirect_to_a_private_address_is_not_followed(world: World, hop: int, target: str) -> None:
    world.internet.names["intern.example"] = ["192.168.0.1"]
    for number in range(hop):
        to = target if number == hop - 1 else f"/{number + 1}"
        world.site.pages[f"/{number}"] = Answer(status=302, headers={"location": to})
    with pytest.raises(GenkitError) as caught:
        await world.fetch("http://example.com/0")
    assert caught.value.status in ("PERMISSION_DENIED", "INVALID_ARGUMENT")
    assert world.site.paths == [f"/{number}" for number in range(hop)]
    assert {host for host, _ in world.internet.connected} == {PUBLIC}


@pytest.mark.network
async def test_a_client_that_follows_redirects_itself_is_guarded_at_every_hop(world: World) -> None:
    world.site.pages["/0"] = Answer(status=302, headers={"location": "http://10.0.0.1/secret"})
    async with world.client(FetchPolicy()) as client:
        await refused(client.get("http://example.com/0", follow_redirects=True))
    assert world.site.paths == ["/0"]


@pytest.mark.network
async def test_five_redirects_are_followed_and_a_sixth_is_not(world: World) -> None:
    for number in range(1, 7):
        world.site.pages[f"/{number}"] = Answer(status=301, headers={"location": f"/{number - 1}"})
    world.site.pages["/0"] = "Here."
    fetched = await world.fetch("http://example.com/5")
    assert (fetched.url, fetched.body) == ("http://example.com/0", b"Here.")
    error = await refused(world.fetch("http://example.com/6"), "FAILED_PRECONDITION")
    assert "5 redirects" in error.message


@pytest.mark.network
async def test_headers_for_one_server_are_not_sent_to_another(world: World) -> None:
    world.internet.names["other.example"] = [PUBLIC]
    world.site.pages["/a"] = Answer(status=302, headers={"location": "/b"})
    world.site.pages["/b"] = Answer(status=302, headers={"location": "http://other.example/c"})
    world.site.pages["/c"] = "There."
    async with world.client(FetchPolicy()) as client:
        await fetch("http://example.com/a", client=client, headers={"authorization": "Bearer secret"})
    assert [r.headers.get("authorization") for r in world.site.requests] == ["Bearer secret", "Bearer secret", None]


@pytest.mark.network
async def test_proxies_of_the_environment_are_not_used_and_cookies_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    world.site.pages["/"] = Answer("Hello.", headers={"set-cookie": "session=1"})
    async with world.client(FetchPolicy()) as client:
        for _ in range(2):
            assert (await fetch("http://example.com/", client=client)).body == b"Hello."
    assert ["cookie" in request.headers for request in world.site.requests] == [False, False]


@pytest.mark.network
async def test_a_host_that_is_named_may_be_private_on_that_port_only() -> None:
    with serve(Website({"/": "Local."})) as url:
        host = url.removeprefix("http://")
        policy = FetchPolicy(allow_hosts=(host,))
        assert (await fetch(f"{url}/", policy)).body == b"Local."
        await refused(fetch(f"http://127.0.0.1:{closed_port()}/", policy))
        await refused(fetch(f"{url}/", FetchPolicy()))
        assert (await fetch(f"{url}/", FetchPolicy(allow_private_networks=True))).body == b"Local."


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "224.0.0.1",
        "fe80::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "168.63.129.16",
    ],
)
def test_allowing_private_networks_allows_no_metadata_service(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"])
def test_allowing_private_networks_allows_them(address: str) -> None:
    assert refusal(ipaddress.ip_address(address))
    assert refusal(ipaddress.ip_address(address), allow_private=True) is None


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        PUBLIC_6,
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert refusal(ipaddress.ip_address(address)) is None


@given(st.ip_addresses())
def test_whatever_python_knows_to_be_private_is_refused(address: Any) -> None:
    translated = address.version == 6 and (address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96"))
    if not translated and (not address.is_global or address.is_multicast or address.is_reserved):
        assert refusal(address)


@given(st.ip_addresses(v=4))
def test_an_address_within_an_address_is_judged_like_itself(address: Any) -> None:
    number = int(address)
    forms = [
        f"::ffff:{address}",
        str(ipaddress.IPv6Address((0x64FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)),
    ]
    expected = refusal(address)
    assert [refusal(ipaddress.ip_address(form)) for form in forms] == [expected] * 3


@given(st.text(max_size=60) | st.from_regex(r"https?://[0-9a-fx.:@\[\]%#\\]{1,30}/?", fullmatch=True))
def test_any_text_is_a_public_url_or_an_error(text: str) -> None:
    try:
        checked = check_url(text, FetchPolicy())
    except GenkitError as error:
        assert error.status in ("PERMISSION_DENIED", "INVALID_ARGUMENT")  # noqa: PT017
    else:
        assert checked.scheme in ("http", "https")
        assert not checked.userinfo
        assert str(check_url(str(checked), FetchPolicy())) == str(checked)


# ---- how much it takes


async def endless(part: bytes = b"x" * 65536) -> AsyncIterator[bytes]:
    while True:
        yield part


def bomb(size: int) -> bytes:
    return gzip.compress(bytes(size))


@pytest.mark.network
@pytest.mark.parametrize(
    "answer",
    [
        Answer(parts=endless),
        Answer(b"x" * 200_001),
        Answer(bomb(50_000_000), headers={"content-encoding": "gzip"}),
        Answer(bomb(100_000) * 3, headers={"content-encoding": "gzip"}),
        Answer(parts=lambda: endless(gzip.compress(b"") * 1000), headers={"content-encoding": "gzip"}),
    ],
    ids=["endless", "long", "bomb", "members", "empty members"],
)
async def test_a_body_is_not_read_beyond_the_bound(world: World, answer: Answer) -> None:
    world.site.pages["/"] = answer
    error = await refused(world.fetch("http://example.com/", max_bytes=200_000), "OUT_OF_RANGE")
    assert "max_bytes=200,000" in error.message


@pytest.mark.network
async def test_a_compressed_body_is_given_as_it_was(world: World) -> None:
    text = b"How do tokens expire? " * 20_000
    world.site.pages["/"] = Answer(gzip.compress(text), headers={"content-encoding": "gzip"})
    world.site.pages["/two"] = Answer(gzip.compress(b"a") + gzip.compress(b"b"), headers={"content-encoding": "GZIP"})
    fetched = await world.fetch("http://example.com/")
    assert fetched.body == text
    assert world.site.requests[0].headers["accept-encoding"] == "gzip"
    assert (await world.fetch("http://example.com/two")).body == b"ab"


@pytest.mark.network
@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd", "deflate", "compress"])
async def test_an_encoding_that_was_not_asked_for_is_refused(world: World, encoding: str) -> None:
    world.site.pages["/"] = Answer(b"x", headers={"content-encoding": encoding})
    error = await refused(world.fetch("http://example.com/"), "OUT_OF_RANGE")
    assert "not asked for" in error.message


@pytest.mark.network
@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"text" * 1000)[:-10]], ids=["other", "cut"])
async def test_a_damaged_body_is_an_error(world: World, body: bytes) -> None:
    world.site.pages["/"] = Answer(body, headers={"content-encoding": "gzip"})
    await refused(world.fetch("http://example.com/"), "UNAVAILABLE")


@pytest.mark.network
async def test_a_server_that_says_nothing_is_given_up(world: World) -> None:
    world.site.pages["/slow"] = Answer("late", wait=5)
    await refused(world.fetch("http://example.com/slow", read_seconds=0.05), "DEADLINE_EXCEEDED")
    await refused(world.fetch("http://example.com/slow", total_seconds=0.05), "DEADLINE_EXCEEDED")


@pytest.mark.network
async def test_a_body_that_trickles_ends_with_the_total_time(world: World) -> None:
    import asyncio

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    world.site.pages["/"] = Answer(parts=trickle)
    await refused(world.fetch("http://example.com/", total_seconds=0.2), "DEADLINE_EXCEEDED")


async def test_a_name_server_that_says_nothing_is_given_up() -> None:
    import asyncio

    async def silent(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    policy = FetchPolicy(connect_seconds=0.05)
    async with guarded_client(policy, resolver=silent) as client:
        await refused(fetch("http://example.com/", policy, client=client), "DEADLINE_EXCEEDED")


@pytest.mark.network
async def test_headers_without_an_end_are_given_up(world: World) -> None:
    world.site.pages["/"] = Answer("x", headers={f"x-{number}": "v" * 1000 for number in range(200)})
    await refused(world.fetch("http://example.com/"), "UNAVAILABLE")


@pytest.mark.network
async def test_only_listed_content_types_are_read(world: World) -> None:
    world.site.pages["/"] = Answer(b"\x89PNG", content_type="image/png")
    assert (await world.fetch("http://example.com/", content_types=("image/*",))).content_type == "image/png"
    error = await refused(
        world.fetch("http://example.com/", content_types=("text/*", "application/pdf")), "FAILED_PRECONDITION"
    )
    assert "image/png" in error.message


# ---- what it says


@pytest.mark.network
async def test_a_status_is_given_back_and_raised_on_request(world: World) -> None:
    world.site.pages["/busy"] = Answer("wait", status=503, headers={"retry-after": "7"})
    busy = await world.fetch("http://example.com/busy")
    assert (busy.status, busy.body, busy.retry_after) == (503, b"", 7.0)
    with pytest.raises(GenkitError) as caught:
        busy.require_ok()
    assert (caught.value.status, caught.value.retry_after) == ("UNAVAILABLE", 7.0)
    with pytest.raises(GenkitError, match="NOT_FOUND"):
        (await world.fetch("http://example.com/none")).require_ok()


async def test_a_name_without_an_address_is_unavailable() -> None:
    error = await refused(fetch("http://nowhere.invalid/"), "UNAVAILABLE")
    assert "nowhere.invalid has no address" in error.message


async def test_an_error_shows_neither_credentials_nor_keys() -> None:
    url = "http://anna:hunter2@10.0.0.1/x?api_key=s3cret&page=2&X-Amz-Signature=abcdef"
    error = await refused(fetch(url), "INVALID_ARGUMENT")
    assert not any(secret in f"{error} {error.details}" for secret in ("hunter2", "anna", "s3cret", "abcdef"))
    assert "page=2" in shown_url(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"allow_hosts": "localhost"},
        {"allow_hosts": ("http://a",)},
        {"max_bytes": 0},
        {"total_seconds": float("nan")},
        {"content_types": "text/html"},
        {"max_redirects": -1},
        {"read_seconds": 0},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        FetchPolicy(**wrong)
    assert next(iter(wrong)) in caught.value.message


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(1, 500), st.booleans())
def test_gzip_unfolds_to_what_it_was_made_of_however_it_is_cut(parts: list[bytes], step: int, zeros: bool) -> None:
    texts = [part + bytes(200_000 if zeros else 0) for part in parts]
    packed = b"".join(map(gzip.compress, texts))
    gunzip = Gunzip()
    pieces = [piece for at in range(0, len(packed), step) for piece in gunzip.pieces(packed[at : at + step])]
    assert b"".join(pieces) == b"".join(texts)
    assert all(len(piece) <= 65536 for piece in pieces)
    assert gunzip.complete == bool(texts)


@given(st.binary(max_size=200))
def test_what_is_no_gzip_is_an_error_or_nothing(data: bytes) -> None:
    with contextlib.suppress(zlib.error):
        assert sum(map(len, Gunzip().pieces(data))) < 1_000_000


@pytest.mark.network
async def test_the_name_is_what_tls_asks_for_though_the_connection_goes_to_an_address(world: World) -> None:
    import httpcore

    asked: list[Any] = []
    reach = world.internet.connect_tcp

    async def connect(*args: Any, **kwargs: Any) -> Any:
        stream = await reach(*args, **kwargs)

        async def start_tls(ssl_context: Any, server_hostname: str | None = None, timeout: Any = None) -> Any:
            asked.append((server_hostname, ssl_context.check_hostname, ssl_context.verify_mode.name))
            await stream.aclose()
            raise httpcore.ConnectError("no TLS here")

        stream.start_tls = start_tls
        return stream

    world.internet.connect_tcp = connect  # type: ignore[method-assign]
    await refused(world.fetch("https://example.com./"), "UNAVAILABLE")
    assert asked == [("example.com", True, "CERT_REQUIRED")]
    assert world.internet.connected == [(PUBLIC, 443)]
