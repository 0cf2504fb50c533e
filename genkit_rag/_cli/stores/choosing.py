"""Which model answers when none is named."""

from __future__ import annotations

import http.client
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from genkit_rag._cli.stores.plugins import action_name
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread

if TYPE_CHECKING:
    from genkit_rag._config import ProjectConfig

MODEL_VARIABLE = "GENKIT_RAG_MODEL"
OPENAI_MODEL = "openai/gpt-4.1-mini"
EMBEDDED_MODEL = "llama-cpp/smollm2-135m"
PROBE_SECONDS = 0.3
"""How long a local server may take to say that it is there."""

_OLLAMA_PORT = 11434
_EMBEDS = re.compile("embed|bert|minilm|bge|rerank", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """A model's name, and why it is this one."""

    model: str
    reason: str


async def choose_model(config: ProjectConfig, given: str | None) -> Choice:
    """Choose the model to ask.

    The order: `--model`, the default of genkit_rag.toml, a provider set up by environment variables, a running Ollama,
    the embedded model.
    """
    if given:
        return Choice(action_name(config, given, "model", "--model"), "as named")
    if config.defaults.model:
        return Choice(action_name(config, config.defaults.model, "model", "defaults.model"), f"of {config.path}")
    if os.environ.get("OPENAI_BASE_URL"):
        return await _first_of_server(config)
    if os.environ.get("OPENAI_API_KEY"):
        return Choice(OPENAI_MODEL, "OPENAI_API_KEY is set")
    models = await run_in_thread(ollama_models)
    chat = [name for name in models or () if not _EMBEDS.search(name)]
    if chat:
        return Choice(f"ollama/{chat[0]}", f"Ollama runs at {ollama_address()}")
    why = "Ollama has no chat model" if models is not None else "no API key is set and Ollama does not run"
    return Choice(EMBEDDED_MODEL, f"embedded: {why}")


async def _first_of_server(config: ProjectConfig) -> Choice:
    from genkit_rag._config import make_plugin

    plugin = make_plugin(config, "openai")
    try:
        listed = await plugin.list_actions()
    finally:
        await plugin.close()
    names = [item.name for item in listed if item.kind == "model"]
    if not names:
        raise GenkitError(
            "UNAVAILABLE",
            "The server at OPENAI_BASE_URL lists no model.",
            hint="Check that it runs, name one of its models with --model openai/NAME, or unset OPENAI_BASE_URL.",
        )
    return Choice(names[0], "the first model of the server at OPENAI_BASE_URL")


def ollama_address() -> str:
    """Return `host:port` of the Ollama server: OLLAMA_HOST, otherwise this machine's."""
    url = _ollama_url()
    return f"{url[1]}:{url[2]}"


def ollama_models() -> list[str] | None:
    """Return the models of the Ollama server; None if it does not answer within 0.3 seconds."""
    scheme, host, port = _ollama_url()
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/api/tags")
        raw: Any = json.loads(connection.getresponse().read())
        return [str(item["name"]) for item in cast("list[dict[str, Any]]", raw["models"])]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _ollama_url() -> tuple[str, str, int]:
    """Parse OLLAMA_HOST to scheme, host and port: `1.2.3.4`, `:11434`, `https://ollama.lan`."""
    given = os.environ.get("OLLAMA_HOST", "").strip()
    bare = "://" not in given
    try:
        url = urlsplit(f"http://{given}" if bare else given)
        host, port = url.hostname or "127.0.0.1", url.port
    except ValueError as error:
        raise GenkitError(
            "INVALID_ARGUMENT", f"OLLAMA_HOST is no address: {given!r}.", hint="For example 127.0.0.1:11434."
        ) from error
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what a server binds to is no address to call
        host = "127.0.0.1"
    default = _OLLAMA_PORT if bare else 443 if url.scheme == "https" else 80
    return url.scheme, host, port or default
