"""The datasets and evaluation runs of a project, by names, paths and `last`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from genkit_rag._cli.apps.dev_folder import dev_folder
from genkit_rag._cli.failures import WrongUsage
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag.evaluation import EvalDataPoint, EvalReport

FILES = (".json", ".jsonl", ".ndjson", ".csv")
REPORTS = (".json", ".html", ".xml", ".csv", ".md", ".txt")


@dataclass(frozen=True, slots=True)
class Points:
    """The rows of a dataset, and which stored one they are of."""

    points: list[EvalDataPoint] = field(repr=False)
    dataset_id: str | None = None
    version: int | None = None


def dataset_ids(folder: Path | None) -> list[str]:
    """Return the ids of the project's datasets."""
    from genkit_rag._server.datasets import DatasetStore

    return [one.dataset_id for one in DatasetStore(dev_folder(folder)).list()]


def load_points(given: str, folder: Path) -> Points:
    """Return the rows of a file or of the project's dataset with that id."""
    from genkit_rag._server.datasets import DatasetStore
    from genkit_rag.evaluation import load_dataset

    path = Path(given)
    if path.suffix.lower() in FILES or path.is_file():
        points = load_dataset(path)
        found = Points(points)
    else:
        store = DatasetStore(folder)
        try:
            dataset = store.get(given)
        except GenkitError as error:
            names = [one.dataset_id for one in store.list()]
            hint = _guess(given, names) or f"Name a file ({', '.join(FILES)}), or make a dataset in the developer UI."
            raise GenkitError("NOT_FOUND", f"There is no dataset {given!r}.", hint=hint) from error
        found = Points(dataset.points(), dataset.dataset_id, dataset.version)
    if not found.points:
        raise WrongUsage(f"The dataset {given!r} is empty.", hint="It needs a row at least.")
    return found


def load_report(given: str, folder: Path) -> EvalReport:
    """Return a report by run id, its prefix, `last`, or a `.json` file."""
    from genkit_rag._server.datasets import RunStore
    from genkit_rag.evaluation import EvalReport

    if given.endswith(".json"):
        try:
            return EvalReport.from_json(Path(given).read_bytes())
        except OSError as error:
            raise GenkitError(
                "NOT_FOUND", f"{given!r} cannot be read: {error.strerror}.", hint="Check the path."
            ) from error
    store = RunStore(folder)
    ids = [run.run_id for run in store.list()]
    meant = ids[:1] if given == "last" else [one for one in ids if one.startswith(given)]
    if given in ids:
        meant = [given]
    if len(meant) > 1:
        raise GenkitError("FAILED_PRECONDITION", f"{len(meant)} runs begin with {given}.", hint="Write more of the id.")
    if not meant:
        hint = (
            _guess(given, ids)
            or 'Make one: genkit-rag eval flow NAME --dataset FILE --evaluators "builtin/exact_match"'
        )
        raise GenkitError("NOT_FOUND", f"There is no evaluation {given!r}.", hint=hint)
    return store.get(meant[0])


def write_report(report: EvalReport, path: Path) -> None:
    """Write a report in the format of the file's extension."""
    made: dict[str, Callable[[], str]] = {
        ".json": lambda: report.to_json(indent=2),
        ".html": report.to_html,
        ".xml": report.to_junit,
        ".csv": report.to_csv,
        ".md": report.to_markdown,
        ".txt": lambda: str(report),
    }
    path.write_text(made[path.suffix.lower()](), encoding="utf-8")


def check_report_path(path: Path | None) -> None:
    """Raise WrongUsage, before anything runs, for a file that cannot be written."""
    if path is not None and path.suffix.lower() not in REPORTS:
        raise WrongUsage(f"`--output`: {str(path)!r} has no ending of a report.", hint=f"Use {', '.join(REPORTS)}.")


def _guess(given: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(given, names, n=1)
    guess = f"Did you mean `{close[0]}`? " if close else ""
    return f"{guess}There are: {', '.join(names[:10])}." if names else ""
