"""`genkit-rag config show`: what every setting is, and where it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genkit_rag._cli.apps.dev_folder import dev_folder
from genkit_rag._cli.options import DEFAULT_FOLDER, Folder, Json, Store, examples
from genkit_rag._cli.output import Output, one_line

if TYPE_CHECKING:
    from genkit_rag._cli.stores.project import Project

Source = Literal["default", "environment", "file", "option"]

HIDDEN = "(set, not shown)"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|HEADERS|DATABASE_URL")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)")

ENVIRONMENT = {
    "GENKIT_RAG_MODEL": "the first that is there; see: genkit-rag ask --help",
    "GENKIT_RAG_DEBUG": "off",
    "GENKIT_RAG_SPAN_WRITERS": "genkit,gen_ai",
    "GENKIT_ENV": "",
    "GENKIT_TELEMETRY_SERVER": "",
    "GENKIT_TELEMETRY_TOKEN": "",
    "GENKIT_ENABLE_REALTIME_TELEMETRY": "false",
    "GENKIT_REFLECTION_HOST": "127.0.0.1",
    "GENKIT_REFLECTION_PORT": "0",
    "GENKIT_REFLECTION_TOKEN": "",
    "GENKIT_REFLECTION_V2_SERVER": "",
    "GENKIT_RUNTIME_ID": "",
    "OPENAI_API_KEY": "",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "OLLAMA_HOST": "127.0.0.1:11434",
    "DATABASE_URL": "",
    "HF_ENDPOINT": "https://huggingface.co",
    "HF_HUB_OFFLINE": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_HEADERS": "",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "",
    "NO_COLOR": "",
    "FORCE_COLOR": "",
    "TERM": "",
    "COLUMNS": "",
}
"""Variable -> what holds without it; empty for nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting.

    Attributes:
        name: What it is called; a variable's name for those of the environment.
        value: What it is, never a secret; empty for nothing.
        source: What has decided.
        where: The variable, option or file that has.
    """

    name: str
    value: str
    source: Source
    where: str = ""


app = typer.Typer(
    help="See the settings.",
    epilog=examples("genkit-rag config show", "genkit-rag config show --json"),
    rich_markup_mode=None,
)


@app.callback()
def config() -> None:
    """See the settings."""


@app.command(epilog=examples("genkit-rag config show", "genkit-rag config show --set --json"))
def show(
    context: typer.Context,
    only_set: Annotated[bool, typer.Option("--set", help="Only what is not at its default.")] = False,
    store: Store = "docs",
    folder: Folder = DEFAULT_FOLDER,
    json: Json = False,
) -> None:
    """Show every setting, its value and where it comes from.

    Secrets are never shown, only that they are set.
    """
    out = Output(json=json)

    def sources(name: str) -> str:
        return str(getattr(context.get_parameter_source(name), "name", ""))

    found = [*_of_project(folder, store, sources), *_of_environment()]
    if only_set:
        found = [one for one in found if one.source != "default"]
    if json:
        out.data(
            {
                "settings": [
                    {"name": one.name, "value": one.value or None, "source": one.source, "where": one.where or None}
                    for one in found
                ]
            }
        )
        return
    rows = [[one.name, one.value or "-", f"{one.source} {one.where}".rstrip()] for one in found]
    out.table(["setting", "value", "from"], rows)


def _of_project(folder: Path, store: str, sources: Callable[[str], str]) -> Iterator[Setting]:
    from genkit_rag._cli.stores.project import DEFAULT_EMBEDDER, Project
    from genkit_rag._server.reflection.runtime_file import MARKERS, project_root

    root = project_root()
    marker = next((root / name for name in MARKERS if (root / name).is_file()), None)
    yield Setting("project root", str(root), "file" if marker else "default", str(marker or ""))
    folder_source = _source(sources("folder"))
    where = {"option": "--dir", "environment": "GENKIT_RAG_DIR"}.get(folder_source, "")
    yield Setting("stores", str(folder.absolute()), folder_source, where)
    given = None if folder_source == "default" else folder
    yield Setting("traces and evaluations", str(dev_folder(given).absolute()), folder_source, where)
    store_source = _source(sources("store"))
    yield Setting("store", store, store_source, "--store" if store_source == "option" else "")
    project = Project(folder, store)
    embedder = _embedder(project) if project.exists else None
    yield (
        Setting("embedder", one_line(embedder), "file", str(project.stores_folder / store))
        if embedder
        else Setting("embedder", DEFAULT_EMBEDDER, "default")
    )
    yield _cache()


def _source(name: str) -> Source:
    return "option" if name == "COMMANDLINE" else "environment" if name == "ENVIRONMENT" else "default"


def _embedder(project: Project) -> str | None:
    """Returns the embedder that filled a store; None where it is empty or cannot be read."""
    import asyncio

    from genkit_rag._cli.stores.project import opened
    from genkit_rag._core.errors import GenkitError, MissingExtra

    async def ask() -> str | None:
        async with opened(project, embeds=False) as place:
            return str(place.info.fingerprint) if place.info.fingerprint else None

    try:
        return asyncio.run(ask())
    except (GenkitError, MissingExtra, OSError):  # `doctor` says what is wrong with it
        return None


def _cache() -> Setting:
    from genkit_rag._core.errors import MissingExtra

    name = "GENKIT_RAG_CACHE"
    given = os.environ.get(name)
    if given:
        return Setting("weights", given, "environment", name)
    from genkit_rag._weights import list_weights

    try:
        listed = list_weights()
    except MissingExtra:
        return Setting("weights", "", "default")
    return Setting("weights", str(listed[0].path.parent), "default")


def _of_environment() -> Iterator[Setting]:
    for name, default in ENVIRONMENT.items():
        value = os.environ.get(name)
        if value:
            yield Setting(name, masked(name, value), "environment", name)
        else:
            yield Setting(name, default, "default")


def masked(name: str, value: str) -> str:
    """Returns a value that may be shown: nothing of a secret, a URL without its credentials."""
    from genkit_rag._core.redact import redactor

    if _SECRET.search(name):
        return HIDDEN
    return one_line(str(redactor()(_CREDENTIALS.sub("...", value))))
