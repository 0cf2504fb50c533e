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
    "GENKIT_RAG_CONFIG": "genkit_rag.toml",
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
        name: Its name; for environment variables the variable's name.
        value: Its value, never a secret; empty if unset.
        source: The kind of its origin.
        where: The variable, option or file of its origin.
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
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    json: Json = False,
) -> None:
    """Show every setting, its value and where it comes from.

    Secrets are never shown, only that they are set.
    """
    out = Output(json=json)

    def sources(name: str) -> str:
        return str(getattr(context.get_parameter_source(name), "name", ""))

    found = [*_of_project(folder, store, sources), *_of_config(), *_of_environment()]
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


def _of_project(folder: Path, store: str | None, sources: Callable[[str], str]) -> Iterator[Setting]:
    from genkit_rag._cli.stores.project import Project
    from genkit_rag._server.reflection.runtime_file import MARKERS, project_root

    root = project_root()
    marker = next((root / name for name in MARKERS if (root / name).is_file()), None)
    yield Setting("project root", str(root), "file" if marker else "default", str(marker or ""))
    folder_source = _source(sources("folder"))
    where = {"option": "--dir", "environment": "GENKIT_RAG_DIR"}.get(folder_source, "")
    yield Setting("stores", str(folder.absolute()), folder_source, where)
    given = None if folder_source == "default" else folder
    yield Setting("traces and evaluations", str(dev_folder(given).absolute()), folder_source, where)
    project = Project(folder, store)
    file = str(project.config.path or "")
    store_source = _source(sources("store"))
    in_file = store_source == "default" and bool(project.config.defaults.store)
    where = file if in_file else "--store" if store_source == "option" else ""
    yield Setting("store", project.label, "file" if in_file else store_source, where)
    embedder = _embedder(project)
    yield (
        Setting("embedder", one_line(embedder), "file", project.action)
        if embedder
        else Setting("embedder", project.default_embedder, "file" if project.config.defaults.embedder else "default")
    )
    yield _cache()


def _of_config() -> Iterator[Setting]:
    """Yield the settings of `genkit_rag.toml`, with references instead of the values of environment variables."""
    from genkit_rag._config import CONFIG_FILE, CONFIG_VARIABLE, load_config
    from genkit_rag._core.installed import installed_plugins

    config = load_config()
    file = str(config.path or "")
    source: Source = "environment" if os.environ.get(CONFIG_VARIABLE) else "file" if file else "default"
    yield Setting("config", file or f"no {CONFIG_FILE}", source, CONFIG_VARIABLE if source == "environment" else file)
    yield Setting("plugins", ", ".join(installed_plugins()), "default")
    for name in ("model", "embedder", "store", "reranker"):
        value = getattr(config.defaults, name)
        yield Setting(f"defaults.{name}", one_line(value or ""), "file" if value else "default", file if value else "")
    for plugin, table in config.plugins.items():
        for key, value in table.items():
            yield Setting(f"plugins.{plugin}.{key}", _shown(key, value), "file", file)


def _shown(key: str, value: object) -> str:
    """Return a value of a plugin's table for display: a reference as it is, a secret hidden."""
    if isinstance(value, str) and value.startswith("env:"):
        return one_line(value)
    return masked("DATABASE_URL" if key == "dsn" else key.upper(), str(value))


def _source(name: str) -> Source:
    return "option" if name == "COMMANDLINE" else "environment" if name == "ENVIRONMENT" else "default"


def _embedder(project: Project) -> str | None:
    """Return the embedding model of a store; None if it is empty or cannot be read."""
    import asyncio

    from genkit_rag._cli.stores.project import opened
    from genkit_rag._core.errors import GenkitError, MissingExtra

    async def ask() -> str | None:
        if not await project.exists():
            return None
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
    """Mask a value: nothing of a secret, a URL without its credentials."""
    from genkit_rag._core.redact import redactor

    if _SECRET.search(name):
        return HIDDEN
    return one_line(str(redactor()(_CREDENTIALS.sub("...", value))))
