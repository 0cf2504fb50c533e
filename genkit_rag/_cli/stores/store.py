"""`genkit-rag store`: properties, content and verification of a store."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from genkit_rag._cli.failures import FAILED
from genkit_rag._cli.options import DEFAULT_FOLDER, Folder, Json, Store, examples
from genkit_rag._cli.output import Output, one_line
from genkit_rag._cli.stores import reindex
from genkit_rag._cli.stores.project import Project, opened
from genkit_rag._core.errors import GenkitError

app = typer.Typer(
    help="Look into a store, check it, and change its embedder.",
    epilog=examples("genkit-rag store stats", "genkit-rag store verify --store docs"),
    rich_markup_mode=None,
)


@app.command(epilog=examples("genkit-rag store stats", "genkit-rag store stats --store notes --json"))
def stats(store: Store = None, folder: Folder = DEFAULT_FOLDER, json: Json = False) -> None:
    """Show what a store is and holds."""
    asyncio.run(_stats(Project(folder, store), Output(json=json)))


@app.command(epilog=examples("genkit-rag store verify", "genkit-rag store verify --store notes --json"))
def verify(store: Store = None, folder: Folder = DEFAULT_FOLDER, json: Json = False) -> None:
    """Check every byte of a store.

    Leaves with 1 when something is damaged.
    """
    if not asyncio.run(_verify(Project(folder, store), Output(json=json))):
        raise typer.Exit(FAILED)


reindex.register(app)


@app.command(epilog=examples("genkit-rag store salvage --store docs --to docs2"))
def salvage(
    to: Annotated[str, typer.Option("--to", help="The new store's name.")],
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    json: Json = False,
) -> None:
    """Copy what is undamaged in a store into a new one.

    Nothing is written to the damaged store. Leaves with 1 when nothing could be saved.
    """
    if not asyncio.run(_salvage(Project(folder, store), to, Output(json=json))):
        raise typer.Exit(FAILED)


def human_bytes(size: float) -> str:
    """Format a size in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit always returns")


async def store_report(project: Project) -> Any:
    """Run a complete check of the store: `ok`, `documents`, `problems`, `derived`."""
    async with opened(project, embeds=False) as place:
        verify = getattr(place.store, "verify", None)
        if verify is None:
            raise _unsupported(project, "verify")
        return await verify()


def _unsupported(project: Project, command: str) -> GenkitError:
    return GenkitError(
        "UNIMPLEMENTED",
        f"Stores of the plugin `{project.plugin_name}` do not support `store {command}`.",
        hint="Use the tools of the database.",
    )


async def _stats(project: Project, out: Output) -> None:
    async with opened(project, embeds=False) as place:
        info = place.info
    embedder = str(info.fingerprint) if info.fingerprint else None
    if out.json:
        out.data(
            {
                "store": info.name,
                "documents": info.count,
                "modes": list(info.modes),
                "embedder": embedder,
                "details": info.details,
            }
        )
        return
    rows = {"store": info.name, "passages": f"{info.count:,}", "embedder": embedder or "none yet: it is empty"}
    rows |= {name.replace("_", " "): _shown(name, value) for name, value in info.details.items()}
    out.table(["", ""], [[name, value] for name, value in rows.items()])


async def _verify(project: Project, out: Output) -> bool:
    report = await store_report(project)
    if out.json:
        out.data(
            {
                "store": project.label,
                "ok": report.ok,
                "documents": report.documents,
                "problems": list(report.problems),
                "derived": list(report.derived),
            }
        )
    elif report.ok:
        out.line(f"`{project.label}` is undamaged: {report.documents:,} passages were read.")
    for problem in report.problems:
        out.say(f"damaged: {problem}")
    for note in report.derived:
        out.say(f"note: {note}")
    if not report.ok:
        rescue = f"genkit-rag store salvage --store {project.label} --to NEW"
        out.say(f"fix: restore the store `{project.label}` from a backup, or save the rest: {rescue}")
    return bool(report.ok)


async def _salvage(project: Project, to: str, out: Output) -> int:
    """Copy the undamaged passages to the new store, and return their number."""
    plugin: Any = project.plugin()
    if not hasattr(plugin, "salvage"):
        raise _unsupported(project, "salvage")
    try:
        saved = await plugin.salvage(project.store, to)
    except GenkitError as error:
        if error.status == "NOT_FOUND":
            await project.require()  # its error lists the existing stores
        raise
    data = {"store": project.label, "to": to, "copied": saved.copied, "lost": saved.lost, "notes": list(saved.notes)}
    out.result(data, f"`{to}` has {saved.copied:,} passages of `{project.label}`; {saved.lost:,} or more are lost.")
    for note in saved.notes:
        out.say(f"note: {note}")
    return int(saved.copied)


def _shown(name: str, value: Any) -> str:
    if name == "bytes":
        return human_bytes(value)
    if isinstance(value, list):
        return ", ".join(one_line(str(item)) or "(default)" for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else one_line(str(value))
