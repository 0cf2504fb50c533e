"""`genkit-rag store reindex`: another embedder for a store, without reading the sources again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from genkit_rag._cli.options import DEFAULT_FOLDER, Embedder, Folder, Json, Store, examples
from genkit_rag._cli.output import LINE_SECONDS, Output
from genkit_rag._cli.stores.project import Project, opened
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._cli.stores.project import Opened
    from genkit_rag._rag.vector_store import Fingerprint

Progress = Callable[[int, int], None]


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "reindex",
        epilog=examples(
            "genkit-rag store reindex --embedder openai/text-embedding-3-small",
            "genkit-rag store reindex --store notes --embedder ollama/nomic-embed-text --batch-size 64 --json",
        ),
    )(reindex)


def reindex(
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    embedder: Embedder = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Passages that are embedded and made durable together.")
    ] = 256,
    force: Annotated[bool, typer.Option("--force", help="Embed again even if the embedder is the same.")] = False,
    json: Json = False,
) -> None:
    """Give a store the vectors of another embedder.

    Its passages are embedded again, and the new vectors take the place of the old ones all at once.

    It may be stopped at any time: the old vectors stay in force, and the next run goes on.
    """
    asyncio.run(_reindex(Project(folder, store, embedder), batch_size, force, Output(json=json)))


async def _reindex(project: Project, batch_size: int, force: bool, out: Output) -> None:
    async with opened(project) as place:
        before, after = place.info.fingerprint, await _fingerprint(place)
        if not place.info.count or (before == after and not force):
            raise _nothing_to_do(project, place, after)
        out.say(f"before: {before}")
        out.say(f"after:  {after}")
        started = time.monotonic()
        with _progress(out) as progress:
            changed = await place.ai.reindex(
                project.action, embedder=place.embedder, batch_size=batch_size, progress=progress
            )
    seconds = time.monotonic() - started
    data = {
        "store": project.label,
        "documents": changed,
        "before": str(before),
        "after": str(after),
        "embedder": place.embedder,
        "seconds": round(seconds, 3),
    }
    out.result(data, f"{project.label}: {changed:,} passages have vectors of {place.embedder} now ({seconds:.1f} s).")


async def _fingerprint(place: Opened) -> Fingerprint:
    """Return the fingerprint of the embedding model, which needs one embedding to be complete."""
    from genkit_rag._core.action import ActionKind
    from genkit_rag._documents.document import Document
    from genkit_rag._rag.embedding import EmbedderAction
    from genkit_rag._rag.embedding_service import service_of

    embedder = await place.ai.registry.get(ActionKind.EMBEDDER, place.embedder)
    assert isinstance(embedder, EmbedderAction)
    response = await service_of(embedder).documents([Document("probe")])
    return embedder.fingerprint(response.dimensions)


def _nothing_to_do(project: Project, place: Opened, fingerprint: Fingerprint) -> GenkitError:
    if not place.info.count:
        return GenkitError(
            "FAILED_PRECONDITION",
            f"The store `{project.label}` is empty: there is nothing to embed.",
            hint="Fill it: genkit-rag ingest PATH --embedder PLUGIN/NAME",
        )
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The store `{project.label}` has the vectors of {fingerprint} already.",
        hint="Name another one with --embedder, or embed all of it again with --force.",
    )


# -- progress


@contextmanager
def _progress(out: Output) -> Generator[Progress]:
    if not out.live:
        yield _Lines(out)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        MofNCompleteColumn(),
        TextColumn("passages"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out.stderr, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class _Lines:
    """Prints a line every ten seconds."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self._out.say(f"{done:,} of {total:,} passages")
