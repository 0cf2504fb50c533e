"""`genkit-rag ingest` with web pages: the whole stack, against real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import serve
from tests.fakes.website import Answer, Website

pytest.importorskip("selectolax")
pytestmark = pytest.mark.network

EMBEDDER = ("--embedder", "openai/text-embedding-3-small", "--rate", "1000")


@pytest.fixture
def site() -> Iterator[tuple[Website, str]]:
    website = Website(
        {
            "/": "<h1>Guide</h1><p>Welcome.</p>"
            "<a href='/docs/a'>a</a><a href='/blog/b'>b</a><a href='/docs/gone'>c</a>",
            "/docs/a": "<h1>Access</h1><p>Tokens are renewed every hour.</p>",
            "/blog/b": "<p>News.</p>",
            "/robots.txt": Answer("User-agent: *\nDisallow: /blog", "text/plain"),
        }
    )
    with serve(website) as url:
        yield website, url


def test_a_site_is_ingested_with_files_and_found(
    command: Command, server: FakeOpenAI, site: tuple[Website, str], docs: Path
) -> None:
    website, url = site
    host = ("--allow-host", url.removeprefix("http://"))
    ran = command("ingest", f"{url}/", str(docs), "--depth", "1", *host, *EMBEDDER, "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["added"], ran.data["failed"]) == (5, [])
    assert "/blog/b" not in website.paths
    found = command("query", "tokens renewed", "--mode", "text", "--json").data
    assert f"{url}/docs/a" in str(found)
    again = command("ingest", f"{url}/", str(docs), "--depth", "1", *host, "--rate", "1000", "--json").data
    assert (again["unchanged"], again["chunks_added"]) == (5, 0)


def test_patterns_and_robots_are_options(command: Command, server: FakeOpenAI, site: tuple[Website, str]) -> None:
    website, url = site
    host = ("--allow-host", url.removeprefix("http://"))
    ran = command(
        "ingest",
        f"{url}/",
        "--depth",
        "1",
        "--exclude",
        "/docs/*",
        "--ignore-robots",
        "--user-agent",
        "Herbert/1",
        *host,
        *EMBEDDER,
        "--json",
    )
    assert ran.data["added"] == 2
    assert website.paths == ["/", "/blog/b"]
    assert website.requests[0].headers["user-agent"] == "Herbert/1"
    ran = command("ingest", f"{url}/", "--depth", "1", "--max-pages", "1", *host, *EMBEDDER, "--json")
    assert (ran.data["unchanged"], ran.data["added"]) == (1, 0)


def test_a_private_address_is_refused_with_the_fix(command: Command, server: FakeOpenAI) -> None:
    ran = command("ingest", "http://169.254.169.254/latest/", *EMBEDDER)
    assert ran.code == 1
    assert "metadata service" in ran.err
    assert "allow" in ran.err


def test_a_dry_run_keeps_no_page(command: Command, server: FakeOpenAI, site: tuple[Website, str]) -> None:
    _, url = site
    ran = command("ingest", f"{url}/", "--allow-host", url.removeprefix("http://"), *EMBEDDER, "--dry-run", "--json")
    assert (ran.data["added"], ran.data["dry_run"]) == (1, True)
    assert not Path(".genkit_rag/web").exists()


def test_a_site_that_is_down_has_failed(command: Command, server: FakeOpenAI) -> None:
    ran = command("ingest", "http://docs.example.invalid/", *EMBEDDER, "--json")
    assert ran.code == 1
    assert len(ran.data["failed"]) == 1
