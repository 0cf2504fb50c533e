"""Ingestion over the wire: it reads what it was defined for, and tells how it goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag._core.errors import PublicError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    (folder / "guide" / ".git").mkdir(parents=True)
    (folder / "guide" / "tokens.md").write_text("# Tokens\n\nA token lives for one hour.")
    (folder / "guide" / "prices.txt").write_text("Twenty a month.")
    (folder / "guide" / ".git" / "config").write_text("secret")
    (folder / ".env").write_text("KEY=secret")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "way").symlink_to(tmp_path)
    (folder / "file.txt").symlink_to(tmp_path / "secret.txt")
    return folder


async def texts(ai: Genkit, namespace: str = "") -> list[str]:
    options: dict[str, Any] = {"k": 50, "namespace": namespace} if namespace else {"k": 50}
    return [document.text for document in await ai.retrieve("memory/docs", "token secret month", options)]


async def test_the_report_is_the_result_and_the_events_are_the_stream(ai: Genkit, base: Path) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    events: list[Any] = []
    report = await flow.run_json({"paths": ["guide"]}, on_chunk=events.append)
    assert json.loads(json.dumps(report))["added"] == 2
    assert [event["type"] for event in json.loads(json.dumps(events))][0::10] == ["Started"]
    assert {event["source"] for event in events if event["type"] == "SourceDone"} == {
        "guide/tokens.md",
        "guide/prices.txt",
    }
    assert events[-1]["type"] == "Finished"
    assert len(await texts(ai)) == 2
    assert (await flow.run_json({"paths": ["guide/*.md", "guide/prices.txt"]}))["unchanged"] == 2


async def test_it_is_a_flow_of_the_registry_with_a_schema(ai: Genkit, base: Path) -> None:
    ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    flow = ai.registry.lookup("flow", "fill")
    assert flow is not None
    assert set((flow.input_schema or {})["properties"]) == {"paths", "urls", "namespace", "dryRun"}


async def test_a_dry_run_changes_nothing(ai: Genkit, base: Path) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    report = await flow.run_json({"paths": ["guide"], "dryRun": True})
    assert (report["added"], report["dry_run"], await texts(ai)) == (2, True, [])


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../secret.txt",
        "guide/../../secret.txt",
        "guide/..",
        "./../secret.txt",
        "/etc/passwd",
        "/",
        "~",
        "~/x",
        "~root/x",
        "way",
        "way/secret.txt",
        "way/*.txt",
        "file.txt",
        ".env",
        "guide/.git/config",
        "guide/.git",
        ".*",
        "",
        "a\0b",
        "..\\secret.txt",
        "C:\\secret.txt",
        "C:secret.txt",
        "\\\\server\\share",
        "*/../../secret.txt",
        "guide/*/../../../secret.txt",
        "**/../../*",
        "....//secret.txt",
        "guide//../..",
        "file:///etc/passwd/../..",
    ],
)
async def test_a_path_out_of_the_folder_or_to_what_is_hidden_is_refused(ai: Genkit, base: Path, path: str) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    with pytest.raises(PublicError) as caught:
        await flow.run_json({"paths": ["guide", path]})
    assert caught.value.status == "PERMISSION_DENIED"
    assert str(base.parent) not in str(caught.value)
    assert await texts(ai) == []


@pytest.mark.parametrize("path", ["nothing", "guide/%2e%2e/x", "..%2fsecret.txt%00"])
async def test_a_path_that_is_not_there_says_nothing_of_the_machine(ai: Genkit, base: Path, path: str) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    with pytest.raises(PublicError) as caught:
        await flow.run_json({"paths": [path]})
    assert caught.value.status in ("NOT_FOUND", "PERMISSION_DENIED")
    assert str(base) not in str(caught.value)


async def test_patterns_read_nothing_hidden_and_nothing_behind_links(ai: Genkit, base: Path) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    await flow.run_json({"paths": ["**/*", "."]})
    assert sorted(await texts(ai)) == ["# Tokens\n\nA token lives for one hour.", "Twenty a month."]


async def test_urls_are_refused_unless_they_were_allowed(ai: Genkit, base: Path) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    with pytest.raises(PublicError, match="PERMISSION_DENIED"):
        await flow.run_json({"urls": ["https://example.com/"]})


async def test_urls_that_are_allowed_are_fetched_from_public_servers_only(ai: Genkit, base: Path) -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("selectolax")
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base, allow_urls=True)
    with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
        await flow.run_json({"urls": ["http://169.254.169.254/latest"]})


async def test_what_fetches_urls_may_be_given(ai: Genkit, base: Path) -> None:
    asked: list[str] = []

    async def pages(urls: list[str]) -> AsyncIterator[Document]:
        asked.extend(urls)
        for url in urls:
            yield Document("A page about a token.", {"source": url})

    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base, allow_urls=pages)
    report = await flow.run_json({"urls": ["https://example.com/"], "paths": ["guide"]})
    assert (report["added"], asked) == (3, ["https://example.com/"])


async def test_only_namespaces_that_were_named_are_written_to(ai: Genkit, base: Path) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base, namespaces=["anna"])
    await flow.run_json({"paths": ["guide"], "namespace": "anna"})
    assert (len(await texts(ai, "anna")), await texts(ai)) == (2, [])
    with pytest.raises(PublicError, match="PERMISSION_DENIED"):
        await flow.run_json({"paths": ["guide"], "namespace": "bert"})
    anywhere = ai.define_ingest_flow("anywhere", indexer="memory/docs", base=base, namespaces=None)
    assert (await anywhere.run_json({"paths": ["guide"], "namespace": "bert"}))["added"] == 2


@pytest.mark.parametrize("raw", [{}, {"paths": "guide"}, {"paths": ["guide"] * 1001}, {"paths": [1]}])
async def test_input_that_cannot_be_meant_is_refused(ai: Genkit, base: Path, raw: Any) -> None:
    flow = ai.define_ingest_flow("fill", indexer="memory/docs", base=base)
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        await flow.run_json(raw)


def test_a_base_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="base"):
        Genkit().define_ingest_flow("fill", indexer="memory/docs", base=tmp_path / "none")
