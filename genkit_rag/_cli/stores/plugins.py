"""The plugins that the command knows, by the first part of their actions' names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from genkit_rag._cli.failures import WrongUsage
from genkit_rag._core.errors import MissingExtra

if TYPE_CHECKING:
    from genkit_rag._core.registry import Plugin

Provides = Literal["embedder", "store", "reranker", "model"]


@dataclass(frozen=True, slots=True)
class KnownPlugin:
    """Where a plugin is.

    Attributes:
        module: The package to import.
        attribute: The class in it.
        extra: What `pip install "genkit-rag[...]"` calls it.
        packages: The import names that the extra installs.
        provides: Kinds of actions that the command uses.
        default: The rest of its action's name when only the plugin is named; empty when the plugin's name is all of it.
        over_embedder: Whether it is made with the name of the store's embedder.
    """

    module: str
    attribute: str
    extra: str
    packages: tuple[str, ...]
    provides: tuple[Provides, ...]
    default: str | None = None
    over_embedder: bool = False


PLUGINS: Mapping[str, KnownPlugin] = {
    "faiss": KnownPlugin("genkit_rag_faiss", "Faiss", "faiss", ("faiss", "tantivy", "filelock"), ("store",)),
    "minilm": KnownPlugin(
        "genkit_rag_minilm",
        "MiniLM",
        "minilm",
        ("onnxruntime", "tokenizers", "platformdirs"),
        ("embedder",),
        "all-minilm-l6-v2",
    ),
    "sentence-transformers": KnownPlugin(
        "genkit_rag_sentence_transformers",
        "SentenceTransformers",
        "sentence-transformers",
        ("sentence_transformers",),
        ("embedder",),
    ),
    "openai": KnownPlugin("genkit_rag_openai", "OpenAI", "openai", ("httpx",), ("embedder", "model")),
    "ollama": KnownPlugin("genkit_rag_ollama", "Ollama", "ollama", ("httpx",), ("embedder", "model")),
    "llama-cpp": KnownPlugin(
        "genkit_rag_llama_cpp", "LlamaCpp", "llama-cpp", ("xllamacpp", "platformdirs"), ("model",), "smollm2-135m"
    ),
    "late-interaction": KnownPlugin(
        "genkit_rag_late_interaction",
        "LateInteraction",
        "late-interaction",
        ("onnxruntime", "tokenizers"),
        ("reranker",),
        "all-minilm-l6-v2",
    ),
    "cross-encoder": KnownPlugin(
        "genkit_rag_cross_encoder",
        "CrossEncoder",
        "cross-encoder",
        ("sentence_transformers",),
        ("reranker",),
        "ms-marco-minilm",
    ),
    "mmr": KnownPlugin("genkit_rag_mmr", "MMR", "mmr", (), ("reranker",), "", over_embedder=True),
    "rrf": KnownPlugin("genkit_rag_rrf", "RRF", "rrf", (), ("reranker",), ""),
}
"""Plugin name -> where it is."""


def action_name(given: str, kind: Provides, option: str) -> str:
    """Returns the full name of an action, `<plugin>/<rest>`, for what an option was given.

    A plugin's name alone stands for its default. Anything else is refused with the names that there are.
    """
    plugin, _, rest = given.partition("/")
    known = PLUGINS.get(plugin)
    if known is None or kind not in known.provides:
        names = [name for name, entry in PLUGINS.items() if kind in entry.provides]
        close = difflib.get_close_matches(plugin, names, n=1)
        guess = f"Did you mean `{close[0]}`? " if close else ""
        raise WrongUsage(
            f"`{option}`: no {kind} plugin is called `{plugin}`, got {given!r}.",
            hint=f"{guess}Write PLUGIN/NAME with one of: {', '.join(names)}.",
        )
    if rest and known.default != "":
        return given
    if known.default is None:
        raise WrongUsage(f"`{option}`: {given!r} names no {kind}.", hint=f"Write {plugin}/NAME.")
    return f"{plugin}/{known.default}".rstrip("/")


def plugin_class(name: str) -> type[Any]:
    """Returns a plugin's class; raises MissingExtra when what it needs is not installed."""
    known = PLUGINS[name]
    try:
        module = importlib.import_module(known.module)
    except ModuleNotFoundError as error:
        raise MissingExtra(known.extra, str(error.name)) from error
    found: type[Any] = getattr(module, known.attribute)
    return found


def make_plugin(name: str, embedder: str = "") -> Plugin:
    """Returns a new plugin with its defaults, over the embedder where it works with one."""
    plugin: Plugin = plugin_class(name)(embedder) if PLUGINS[name].over_embedder else plugin_class(name)()
    return plugin


def missing_packages(known: KnownPlugin) -> list[str]:
    """Returns the packages of a plugin that are not installed, itself among them; imports nothing."""
    return [name for name in (*known.packages, known.module) if importlib.util.find_spec(name) is None]
