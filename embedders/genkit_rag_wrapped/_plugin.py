"""The plugin: embedders by name, with something around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from genkit_rag.plugin_api import (
    ActionKind,
    ActionMetadata,
    EmbedderAction,
    GenkitError,
    Plugin,
    invalid,
)
from genkit_rag_wrapped._cache import VectorCache
from genkit_rag_wrapped._embedder import WrappedEmbedder
from genkit_rag_wrapped._options import WrappedConfig


class Wrapped(Plugin):
    """Registers `wrapped/<name>` for each configuration: another plugin's embedder with a cache, limits and retries.

    With only a cache, limits and retries the vectors and their fingerprint are those of the embedder, so a store that
    was filled by one opens with the other. With prefixes or fewer dimensions they differ, and the store reports it.

    Args:
        embedders: The names after `wrapped/`, with their configurations.
        name: The prefix of the embedders' names.
    """

    provides = ("embedder",)

    def __init__(self, embedders: Mapping[str, WrappedConfig], *, name: str = "wrapped") -> None:
        given: object = embedders
        if not isinstance(given, Mapping) or not all(isinstance(wrap, WrappedConfig) for wrap in given.values()):
            raise invalid(
                "embedders",
                given,
                "must be a mapping of names to wraps",
                hint='Write Wrapped({"small": WrappedConfig("openai/text-embedding-3-small")}).',
            )
        self.name = name
        self._wraps = dict(embedders)
        self._caches: dict[Path, VectorCache] = {}
        for key, wrap in self._wraps.items():
            if wrap.embedder.startswith(f"{name}/"):
                raise invalid(
                    f"embedders[{key!r}].embedder",
                    wrap.embedder,
                    "must be an embedder of another plugin",
                    hint="One wrap can do all of it.",
                )
            self._add_cache(key, wrap)

    async def resolve(self, kind: str, name: str) -> EmbedderAction | None:
        """Return the embedder with that name; NOT_FOUND if the wrapped one does not exist."""
        wrap = self._wraps.get(name.removeprefix(f"{self.name}/"))
        if kind != ActionKind.EMBEDDER or wrap is None:
            return None
        inner = await self.registry.get(ActionKind.EMBEDDER, wrap.embedder)
        if not isinstance(inner, EmbedderAction):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{inner.key}` was not made with `embedder_action` or `@ai.embedder`.",
                hint="Make it with one of them: a cache must know the fingerprint of its vectors.",
            )
        cache = None if wrap.cache is None else self._caches[_path(wrap.cache)]
        return WrappedEmbedder(name, wrap, inner, cache).action

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """List the embedders, even if the wrapped ones do not exist."""
        return [ActionMetadata(ActionKind.EMBEDDER, f"{self.name}/{key}") for key in self._wraps]

    async def close(self) -> None:
        """Frees the caches' files."""
        for cache in self._caches.values():
            cache.close()

    def _add_cache(self, key: str, wrap: WrappedConfig) -> None:
        if wrap.cache is None:
            return
        path = _path(wrap.cache)
        cache = self._caches.setdefault(path, VectorCache(path, wrap.cache_bytes))
        if cache.max_bytes != wrap.cache_bytes:
            raise invalid(
                f"embedders[{key!r}].cache_bytes", wrap.cache_bytes, f"must be the same for all that share {path}"
            )


def _path(given: str | Path) -> Path:
    return Path(given).expanduser().absolute()
