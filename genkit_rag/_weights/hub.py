"""Fetches a file from the model hub over HTTP, going on where an earlier try stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from genkit_rag._core.errors import GenkitError, Status, require_extra
from genkit_rag._weights.manifest import HubFile

if TYPE_CHECKING:
    import httpx

HUB = "https://huggingface.co"
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0

Report = Callable[[int], None]
"""Gets how many bytes of the file are there."""

_STATUSES: dict[int, Status] = {
    401: "PERMISSION_DENIED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}


def fetch_from_hub(source: HubFile, size: int, partial: Path, report: Report) -> None:
    """Download up to `size` bytes into `partial`; the caller verifies the hash.

    Honours `HF_ENDPOINT` and `HF_HUB_OFFLINE` like huggingface_hub. A broken connection is resumed as long as every
    attempt receives data.

    Raises:
        GenkitError: UNAVAILABLE if the hub cannot be reached; NOT_FOUND, PERMISSION_DENIED or RESOURCE_EXHAUSTED by its
            answer; DATA_LOSS if it sends more than `size`.
    """
    require_extra("minilm", "httpx")
    import httpx

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise GenkitError("UNAVAILABLE", "The model hub is switched off by HF_HUB_OFFLINE.", hint="Unset it.")
    base = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    url = f"{base}/{source.repo}/resolve/{source.revision}/{source.path}"
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    # Ranges and sizes are about the file's own bytes, so nothing may be compressed on the way.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client:
        while (before := _size_of(partial)) < size:
            try:
                _receive(client, url, size, partial, report)
            except httpx.RequestError as error:
                if _size_of(partial) <= before:
                    raise GenkitError(
                        "UNAVAILABLE",
                        f"No connection to {url}: {type(error).__name__}: {error}.",
                        hint="Check the network and proxy settings, or use --source index.",
                    ) from error
            else:
                if _size_of(partial) <= before:
                    raise GenkitError(
                        "UNAVAILABLE", f"{url} ends after {before} of {size} bytes.", hint="Use --source index."
                    )


def _receive(client: httpx.Client, url: str, size: int, partial: Path, report: Report) -> None:
    """Send one request and append its body; start over if the server does not support ranges."""
    have = _size_of(partial)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code not in (200, 206):
            if have and response.status_code == 416:
                partial.unlink()
                return _receive(client, url, size, partial, report)
            raise _refused(url, response)
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code == 206 and not resumed:
            raise GenkitError("DATA_LOSS", f"{url} answered with another range.", hint="Use --source index.")
        done = have if response.status_code == 206 else 0
        with partial.open("ab" if done else "wb") as stream:
            for chunk in response.iter_raw():  # with a chunk size, a cut would lose what is not a full chunk
                done += len(chunk)
                if done > size:
                    raise GenkitError(
                        "DATA_LOSS", f"{url} is longer than the pinned {size} bytes.", hint="Use --source index."
                    )
                stream.write(chunk)
                report(done)


def _refused(url: str, response: httpx.Response) -> GenkitError:
    return GenkitError(
        _STATUSES.get(response.status_code, "UNAVAILABLE"),
        f"{url} answered {response.status_code} {response.reason_phrase}.",
        hint="Try again later, or use --source index.",
    )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
