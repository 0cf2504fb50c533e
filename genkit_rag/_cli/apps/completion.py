"""Shell completion. Errors result in no completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

SECONDS = 0.5
"""Timeout for the answer of an app, since the user waits at the prompt."""


def complete_action(incomplete: str) -> list[str]:
    """Complete the flows of the running app by name, and every action by key after a slash."""
    keys = list(_running_actions())
    if incomplete.startswith("/"):
        return _beginning(incomplete, keys)
    return _beginning(incomplete, (key.removeprefix("/flow/") for key in keys if key.startswith("/flow/")))


def complete_evaluators(incomplete: str) -> list[str]:
    """Complete the running app's evaluators, after those already in a comma-separated list."""
    before, comma, last = incomplete.rpartition(",")
    names = (key.removeprefix("/evaluator/") for key in _running_actions() if key.startswith("/evaluator/"))
    return [f"{before}{comma}{name}" for name in _beginning(last, names)]


def complete_dataset(incomplete: str) -> list[str]:
    """Complete the project's datasets."""
    with suppress(Exception):
        from genkit_rag._cli.evaluation.store import dataset_ids

        return _beginning(incomplete, dataset_ids(None))
    return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _running_actions() -> Iterator[str]:
    with suppress(Exception):
        import http.client
        from urllib.parse import urlsplit

        from genkit_rag._server.reflection.runtime_file import project_root
        from genkit_rag._server.runtimes import read_runtimes

        for runtime in read_runtimes(Path(project_root()) / ".genkit" / "runtimes"):
            url = urlsplit(runtime.url)
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=SECONDS)
            with suppress(OSError, ValueError):
                connection.request("GET", "/api/actions")
                yield from json.loads(connection.getresponse().read())
                return
            connection.close()
