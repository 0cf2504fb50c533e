"""What `doctor` looks at for `start`, `flow`, `eval` and `trace`."""

from __future__ import annotations

import importlib
import json
import os
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from genkit_rag._cli.doctor.findings import Finding
from genkit_rag._core.errors import GenkitError

DEV_PACKAGES = ("starlette", "uvicorn", "jinja2", "websockets", "httpx", "opentelemetry.sdk")
"""The packages of the extra `dev`, by import name."""

REACH_SECONDS = 2.0
"""How long a provider may take to accept a connection."""

_FIX_DEV = 'pip install "genkit-rag[dev]"'


def check_dev(folder: Path, root: Path) -> Iterator[Finding]:
    """Run the checks of the developer tools.

    Args:
        folder: Where the traces are.
        root: The project's root.
    """
    installed = check_extra()
    yield installed
    yield check_port()
    yield from check_runtimes(root)
    if installed.state == "ok":
        yield check_traces(folder)
    yield from check_provider()


def check_extra() -> Finding:
    """Check the packages of the developer UI. It needs no Node and downloads nothing."""
    missing: list[str] = []
    for name in DEV_PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        return Finding("developer tools", "note", f"not installed: {', '.join(missing)}", _FIX_DEV)
    return Finding("developer tools", "ok", "installed; they need neither Node nor the internet")


def check_port() -> Finding:
    """Check whether the developer UI's first port is free."""
    from genkit_rag._cli.apps.start import FIRST_PORT

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", FIRST_PORT))
        except OSError:
            return Finding(
                "port",
                "note",
                f"{FIRST_PORT} is in use; `start` takes the next free one",
                "End what uses it, or choose one: genkit-rag start --port N",
            )
    return Finding("port", "ok", f"{FIRST_PORT} is free for the developer UI")


def check_runtimes(root: Path) -> Iterator[Finding]:
    """Yield the running apps, and stale runtime files."""
    folder = root / ".genkit" / "runtimes"
    live: list[str] = []
    stale: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        (live if _accepts(path) else stale).append(path.name)
    yield Finding("apps", "ok", f"{len(live)} running in {root}" if live else f"none running in {root}")
    if stale:
        names = " ".join(f"'{folder / name}'" for name in stale[:5])
        yield Finding("runtime files", "note", f"{len(stale)} left behind by apps that are gone", f"rm {names}")
    else:
        yield Finding("runtime files", "ok", "none left behind")


def _accepts(path: Path) -> bool:
    try:
        url = urlsplit(str(json.loads(path.read_bytes())["reflectionServerUrl"]))
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=0.3):
            return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_traces(folder: Path) -> Finding:
    """Check that the trace store is readable and private."""
    from genkit_rag._cli.apps.dev_folder import TRACES
    from genkit_rag._cli.stores.store import human_bytes
    from genkit_rag._server.telemetry import TraceStore

    path = folder / TRACES
    if not path.exists():
        return Finding("traces", "ok", f"none yet in {folder}")
    fix = f"Move it away; a new one is made: mv '{path}' '{path}.damaged'"
    try:
        store = TraceStore(path)
        try:
            stats = store.stats()
        finally:
            store.close()
    except (GenkitError, OSError) as error:
        return Finding("traces", "broken", getattr(error, "message", str(error)), fix)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        return Finding("traces", "note", f"{path} can be read by others", f"chmod 600 '{path}'")
    return Finding("traces", "ok", f"{stats['traces']:,} traces, {human_bytes(stats['bytes'])} at {path}")


def check_provider() -> Iterator[Finding]:
    """Check whether the configured provider's server accepts connections; no key is sent."""
    base = os.environ.get("OPENAI_BASE_URL", "").strip()
    if not base and not os.environ.get("OPENAI_API_KEY", "").strip():
        return
    try:
        url = urlsplit(base or "https://api.openai.com")
        host, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        host, port = None, 0
    if not host:
        yield Finding("provider", "note", "OPENAI_BASE_URL is no address", "Write such as http://127.0.0.1:8080/v1")
        return
    problem = _connect(host, port)
    if problem is None:
        yield Finding("provider", "ok", f"{host}:{port} accepts connections")
    else:
        yield Finding(
            "provider",
            "note",
            f"{host}:{port} cannot be reached: {problem}",
            "Check the network and the proxy, or OPENAI_BASE_URL.",
        )


def _connect(host: str, port: int) -> str | None:
    """Return why a connection failed; None if it succeeded."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=REACH_SECONDS).close()
            answers.put(None)
        except Exception as error:  # whatever it is, somebody waits for the answer
            answers.put(getattr(error, "strerror", None) or str(error))

    # In a thread: the time that a name takes to be looked up knows no limit.
    threading.Thread(target=attempt, daemon=True).start()
    try:
        return answers.get(timeout=REACH_SECONDS + 0.5)
    except queue.Empty:
        return "no answer"
