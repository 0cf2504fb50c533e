"""Datasets in a folder: every change is a new version, and the newest ones are kept.

`<root>/datasets/<id>/<version>.json` is one file, written whole. A version that exists is never changed, so that
writers in several processes cannot lose each other's rows: who comes second writes the version after.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field
from pydantic_core import PydanticSerializationError

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import parse
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.dataset import Judgement, judged_points
from genkit_rag._evaluation.types import EvalDataPoint, with_ids
from genkit_rag._server.datasets.files import checked_name, inside, read_file, write_new

DatasetKind = Literal["examples", "judgements"]
Rows = list[dict[str, Any]]

MAX_BYTES = 20_000_000
"""How large a dataset may be, as JSON."""
MAX_ROWS = 50_000
MAX_DATASETS = 1_000
KEPT_VERSIONS = 10
"""How many versions of a dataset are kept."""

_TRIES = 50
_VERSION = re.compile(r"(\d{8})\.json")


class DatasetInfo(WireModel):
    """A dataset without its rows.

    Attributes:
        dataset_id: Its name.
        kind: `examples` for data points, `judgements` for marks on documents.
        version: Grows by one with every change, from 1.
        size: How many rows it has.
        created_at: When it was made, as ISO 8601 in UTC.
        updated_at: When this version was written.
        target: The action that it is for, such as `/flow/answer`.
    """

    dataset_id: str
    kind: DatasetKind = "examples"
    version: int = 1
    size: int = 0
    created_at: str = ""
    updated_at: str = ""
    target: str | None = None


class Dataset(DatasetInfo):
    """A dataset with its rows.

    Attributes:
        rows: `EvalDataPoint`s, or `Judgement`s, as JSON: the form in which Genkit's command line takes datasets.
    """

    rows: Rows = Field(default_factory=list[dict[str, Any]])

    def points(self) -> list[EvalDataPoint]:
        """Return the rows as data points; judgements become one for each query."""
        if self.kind == "judgements":
            return judged_points([parse(Judgement, row, "The judgement") for row in self.rows])
        return [parse(EvalDataPoint, row, "The row") for row in self.rows]


class DatasetStore:
    """The datasets of a project. Its methods block: call them in a thread.

    Args:
        root: The folder, such as `.genkit_rag`; made when the first dataset is written.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root) / "datasets"

    def list(self) -> list[DatasetInfo]:
        """List the newest version of every dataset without its rows, by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        found: list[DatasetInfo] = []
        for name in names:
            try:
                made = self.get(checked_name("dataset_id", name))
            except GenkitError:  # no dataset of ours, or just deleted
                continue
            found.append(DatasetInfo(**{field: getattr(made, field) for field in DatasetInfo.model_fields}))
        return found

    def get(self, dataset_id: str, version: int | None = None) -> Dataset:
        """Return a dataset, by default its newest version; NOT_FOUND if it does not exist."""
        folder = self._folder(dataset_id)
        for _ in range(_TRIES):
            newest = version or max(_versions(folder), default=0)
            data = read_file(folder / _file(newest), MAX_BYTES * 2) if newest else None
            if data is not None:
                return _parsed(dataset_id, data)
            if version is not None or not newest:
                break
        told = f"The dataset {dataset_id!r}" + (f" has no version {version}" if version else " does not exist")
        raise GenkitError("NOT_FOUND", f"{told}.", hint="`list` says what there is.")

    def versions(self, dataset_id: str) -> Sequence[int]:
        """Return the kept versions, oldest first."""
        return sorted(_versions(self._folder(dataset_id)))

    def create(
        self, dataset_id: str, rows: Sequence[Any] = (), *, kind: DatasetKind = "examples", target: str | None = None
    ) -> Dataset:
        """Create a dataset; ALREADY_EXISTS if the name is taken."""
        if kind not in ("examples", "judgements"):
            raise invalid("kind", kind, "must be `examples` or `judgements`")
        folder = self._folder(dataset_id)
        now = _now()
        checked = _checked(kind, rows, [])
        made = Dataset(
            dataset_id=dataset_id,
            kind=kind,
            target=target,
            rows=checked,
            size=len(checked),
            created_at=now,
            updated_at=now,
        )
        data = _data(made)
        if not folder.exists() and self._root.exists() and len(os.listdir(self._root)) >= MAX_DATASETS:
            raise GenkitError("RESOURCE_EXHAUSTED", f"There are {MAX_DATASETS} datasets already.", hint="Delete some.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _versions(folder) or not write_new(folder / _file(1), data):
            raise GenkitError(
                "ALREADY_EXISTS",
                f"The dataset {dataset_id!r} exists.",
                hint="Use `update` or `append`, or another name.",
            )
        return made

    def update(self, dataset_id: str, rows: Sequence[Any], *, expected_version: int | None = None) -> Dataset:
        """Replace the rows of a dataset; ABORTED if its version is not the expected one."""
        return self._change(dataset_id, lambda made: _checked(made.kind, rows, []), expected_version)

    def append(self, dataset_id: str, rows: Sequence[Any]) -> Dataset:
        """Append rows to a dataset."""
        return self._change(dataset_id, lambda made: [*made.rows, *_checked(made.kind, rows, made.rows)])

    def judge(self, dataset_id: str, judgement: Judgement) -> Dataset:
        """Add a judgement to a dataset, which is created if it does not exist."""
        stamped = judgement.model_copy(update={"created_at": judgement.created_at or _now()})
        if not self.versions(dataset_id):
            try:
                return self.create(dataset_id, [stamped], kind="judgements")
            except GenkitError as error:
                if error.status != "ALREADY_EXISTS":  # somebody else was faster
                    raise
        return self.append(dataset_id, [stamped])

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset with all its versions; NOT_FOUND if it does not exist."""
        folder = self._folder(dataset_id)
        gone = folder.with_name(f".deleted-{dataset_id}-{os.urandom(6).hex()}")
        try:
            folder.rename(gone)  # at once, for everybody
        except FileNotFoundError as error:
            raise GenkitError("NOT_FOUND", f"The dataset {dataset_id!r} does not exist.") from error
        shutil.rmtree(gone, ignore_errors=True)

    def _folder(self, dataset_id: str) -> Path:
        return inside(self._root, checked_name("dataset_id", dataset_id))

    def _change(
        self, dataset_id: str, change: Callable[[Dataset], Rows], expected_version: int | None = None
    ) -> Dataset:
        folder = self._folder(dataset_id)
        for _ in range(_TRIES):
            before = self.get(dataset_id)
            if expected_version is not None and before.version != expected_version:
                break
            rows = change(before)
            update = {"rows": rows, "size": len(rows), "version": before.version + 1, "updated_at": _now()}
            after = before.model_copy(update=update)
            try:
                won = write_new(folder / _file(after.version), _data(after))
            except FileNotFoundError as error:
                raise GenkitError("NOT_FOUND", f"The dataset {dataset_id!r} was deleted meanwhile.") from error
            if won:
                _prune(folder, after.version)
                return after
        raise GenkitError(
            "ABORTED",
            f"The dataset {dataset_id!r} was changed by somebody else.",
            hint="Read it again, then repeat the change.",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _file(version: int) -> str:
    return f"{version:08d}.json"


def _versions(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(match[1]) for match in map(_VERSION.fullmatch, names) if match]


def _prune(folder: Path, newest: int) -> None:
    for version in _versions(folder):
        if version <= newest - KEPT_VERSIONS:
            (folder / _file(version)).unlink(missing_ok=True)


def _checked(kind: DatasetKind, rows: Sequence[Any], before: Rows) -> Rows:
    """Validate rows and return them as JSON; data points get unique ids."""
    given: Any = rows
    if not isinstance(given, list | tuple):
        raise invalid("rows", given, "must be a list")
    if len(rows) + len(before) > MAX_ROWS:
        raise GenkitError("RESOURCE_EXHAUSTED", f"A dataset has at most {MAX_ROWS:,} rows.", hint="Use several.")
    if kind == "judgements":
        marks: list[Judgement] = [parse(Judgement, row, f"The row {number}") for number, row in enumerate(rows)]
        return [mark.to_wire() for mark in marks]
    points: list[EvalDataPoint] = [parse(EvalDataPoint, row, f"The row {n}") for n, row in enumerate(rows)]
    there = [EvalDataPoint(test_case_id=cast(str, row.get("testCaseId"))) for row in before]
    try:
        return [point.to_wire() for point in with_ids([*there, *points])[len(there) :]]
    except PydanticSerializationError as error:
        raise GenkitError("INVALID_ARGUMENT", f"The rows are no JSON: {error}.") from error


def _data(made: Dataset) -> bytes:
    try:
        data = json.dumps(made.to_wire(), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # such as text that is no Unicode
        raise GenkitError("INVALID_ARGUMENT", f"The rows are no JSON: {error}.") from error
    if len(data) > MAX_BYTES:
        raise GenkitError(
            "RESOURCE_EXHAUSTED",
            f"A dataset has at most {MAX_BYTES:,} bytes, not {len(data):,}.",
            hint="Use several, or shorter rows.",
        )
    return data


def _parsed(dataset_id: str, data: bytes) -> Dataset:
    try:
        made: Dataset = parse(Dataset, json.loads(data), f"The dataset {dataset_id!r}")
    except (ValueError, RecursionError) as error:
        raise GenkitError(
            "DATA_LOSS",
            f"The dataset {dataset_id!r} is damaged: {error}.",
            hint="`versions` says which earlier ones there are.",
        ) from error
    return made
