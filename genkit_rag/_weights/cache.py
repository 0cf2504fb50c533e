"""The folder that weights live in: looking up, checking and removing; nothing here reaches the network."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genkit_rag._core.errors import GenkitError, require_extra
from genkit_rag._weights.manifest import MANIFEST, Weights, WeightsFile, weights_named

CACHE_VARIABLE = "GENKIT_RAG_CACHE"
"""The environment variable that moves the cache."""

PARTIAL = ".partial"
"""The ending of a file that is not complete yet; the next pull goes on with it."""

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """One line of the listing.

    Attributes:
        name: What `pull` takes.
        description: For people.
        licence: SPDX identifier of the weights.
        size: Bytes when installed.
        installed: True when every file is there with its size.
        path: The folder that it is in, or would be in.
    """

    name: str
    description: str
    licence: str
    size: int
    installed: bool
    path: Path


def models_folder() -> Path:
    """Return the folder of all weights: `$GENKIT_RAG_CACHE/models`, or else in the user's cache folder."""
    root = os.environ.get(CACHE_VARIABLE)
    if root:
        return Path(root).expanduser() / "models"
    require_extra("minilm", "platformdirs")
    from platformdirs import user_cache_path

    return user_cache_path("genkit_rag", appauthor=False) / "models"


def weights_path(name: str, file: str | None = None) -> Path:
    """Return the folder of installed weights, or one of its files. Checks sizes only, since it runs at every load.

    Raises NOT_FOUND for unknown names, FAILED_PRECONDITION with the command to run when something is missing.
    """
    weights = weights_named(name)
    folder = models_folder() / name
    wanted = weights.files if file is None else (weights.file(file),)
    missing = [item.path for item in wanted if not has_size(folder / item.path, item)]
    if missing:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"The weights `{name}` are not installed: {', '.join(missing)} is missing or incomplete in {folder}.",
            hint=f"Run: genkit-rag models pull {name}",
            details={"name": name, "missing": missing, "folder": str(folder)},
        )
    return folder if file is None else folder / file


def list_weights() -> list[WeightsStatus]:
    """List the weights that can be pulled, with their installation state."""
    root = models_folder()
    return [
        WeightsStatus(
            weights.name,
            weights.description,
            weights.licence,
            weights.size,
            all(has_size(root / weights.name / file.path, file) for file in weights.files),
            root / weights.name,
        )
        for weights in MANIFEST.values()
    ]


def verify(name: str) -> Path:
    """Hash every file of installed weights and return their folder; DATA_LOSS names damaged files."""
    folder = weights_path(name)
    for file in weights_named(name).files:
        actual = sha256_of(folder / file.path)
        if actual != file.sha256:
            raise wrong_hash(name, file, actual, hint=f"Run: genkit-rag models pull {name}")
    return folder


def remove(name: str) -> int:
    """Delete weights and partial downloads, and return the number of freed bytes; 0 if nothing was installed."""
    weights = weights_named(name)
    folder = models_folder() / name
    if not folder.is_dir():
        return 0
    with locked(weights):
        freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder)
    return freed


@contextmanager
def locked(weights: Weights) -> Generator[None]:
    """Hold the lock of one name across processes; wait for other holders."""
    require_extra("minilm", "filelock")
    from filelock import FileLock

    root = models_folder()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{weights.name}.lock"):
        yield


def has_size(path: Path, file: WeightsFile) -> bool:
    """Return whether the file exists with the pinned size."""
    try:
        return path.stat().st_size == file.size
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def wrong_hash(name: str, file: WeightsFile, actual: str, *, hint: str) -> GenkitError:
    """Create the error for a file whose hash differs from the pinned one."""
    return GenkitError(
        "DATA_LOSS",
        f"`{file.path}` of the weights `{name}` has the sha256 {actual}, expected {file.sha256}.",
        hint=hint,
        details={"file": file.path, "expected": file.sha256, "actual": actual},
    )
