"""The plugin: any model and embedder of an Ollama server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from genkit_rag.plugin_api import (
    Action,
    ActionContext,
    ActionKind,
    ActionMetadata,
    GenkitError,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ModelSupports,
    Part,
    Plugin,
    model_action,
)
from genkit_rag_ollama._embedder import make_embedder
from genkit_rag_ollama._http import Connection, base_url_of
from genkit_rag_ollama._wire import ChatStream, chat_body

_SUPPORTS = ModelSupports(
    multiturn=True,
    system_role=True,
    tool_choice=False,
    output=["text", "json"],
    constrained="no-tools",
)


class Ollama(Plugin):
    """Models and embedders of an Ollama server: `ollama/llama3.2:1b`, `ollama/nomic-embed-text`.

    The config has the fields of `GenerationConfig`; other names become Ollama's options (`num_ctx`, `seed`), except
    `think` and `keep_alive`, which are top-level fields. Ollama cannot force a tool call: `tool_choice='required'` is
    UNIMPLEMENTED, and so are tools together with a schema that the server must enforce.

    Args:
        host: The server's address; default: OLLAMA_HOST, otherwise `http://127.0.0.1:11434`.
        models: The capabilities of models, by name; plain names only appear in the listing.
        name: The prefix of the names of its actions.
        timeout: Read timeout in seconds (10 for connecting); it includes the loading of a model.
        keep_alive: How long the server keeps an embedder loaded, such as `10m`, or seconds; the server's default if
            None.
        truncate: Whether the server cuts texts that are too long for an embedder; otherwise they raise an error.
    """

    provides = ("model", "embedder")

    def __init__(
        self,
        host: str | None = None,
        *,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        name: str = "ollama",
        timeout: float = 300.0,
        keep_alive: str | float | None = None,
        truncate: bool = True,
    ) -> None:
        self.name = name
        self._models = dict(models) if isinstance(models, Mapping) else {model: ModelInfo() for model in models or ()}
        self._connection = Connection(base_url_of(host), timeout)
        self._embedding = {"truncate": truncate} | ({} if keep_alive is None else {"keep_alive": keep_alive})

    def __repr__(self) -> str:
        return f"Ollama({self._connection.shown_url!r})"

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return the model or embedder with that name; the first call shows whether the server has it."""
        model = name.removeprefix(f"{self.name}/")
        if kind == ActionKind.MODEL:
            return model_action(name, _Chat(self._connection, model), info=self._info(model), provider="ollama")
        if kind == ActionKind.EMBEDDER:
            return make_embedder(name, model, self._connection, self._embedding)
        return None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """List the server's models; the configured ones if it is unreachable."""
        found: dict[str, ActionMetadata] = {model: self._metadata(model, None) for model in self._models}
        try:
            tags = await self._connection.get("/api/tags")
            names = [str(item["name"]) for item in tags["models"]]
            shown = await asyncio.gather(*(self._connection.post("/api/show", {"model": name}) for name in names))
        except GenkitError as error:
            if error.status not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
        else:
            found |= {n: self._metadata(n, show.get("capabilities")) for n, show in zip(names, shown, strict=True)}
        return list(found.values())

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    def _metadata(self, model: str, capabilities: Sequence[str] | None) -> ActionMetadata:
        name = f"{self.name}/{model}"
        if capabilities is not None and "embedding" in capabilities:
            return ActionMetadata(ActionKind.EMBEDDER, name)
        info = self._info(model)
        if capabilities is not None and model not in self._models and info.supports is not None:
            can = {"tools": "tools" in capabilities, "media": "vision" in capabilities}
            info = info.model_copy(update={"supports": info.supports.model_copy(update=can)})
        return ActionMetadata(ActionKind.MODEL, name, metadata={"model": info.to_wire()})

    def _info(self, model: str) -> ModelInfo:
        info = self._models.get(model) or ModelInfo()
        label = info.label or f"Ollama {model}"
        return info.model_copy(update={"label": label, "supports": info.supports or _SUPPORTS})


class _Chat:
    """One model's handler."""

    def __init__(self, connection: Connection, model: str) -> None:
        self._connection = connection
        self._model = model

    async def __call__(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        """Generate an answer; stream chunks if the caller listens."""
        body = {**chat_body(self._model, request), "stream": ctx.streaming}
        stream = ChatStream(request)
        try:
            if not ctx.streaming:
                stream.add(await self._connection.post("/api/chat", body))
                return stream.response()
            # Close the stream as soon as a chunk raises, instead of at garbage collection.
            async with aclosing(self._connection.lines("/api/chat", body)) as lines:
                async for line in lines:
                    _send(ctx, stream.add(line))
            if not stream.finished:
                raise GenkitError(
                    "UNAVAILABLE",
                    f"The stream ended before the answer did, after {len(stream.text)} characters.",
                    hint="Ask again; what had come is in `error.response`.",
                )
        except GenkitError as error:
            error.response = stream.partial()
            raise
        return stream.response()


def _send(ctx: ActionContext, parts: list[Part]) -> None:
    if parts:
        ctx.send_chunk(ModelResponseChunk(role="model", index=0, content=parts))
