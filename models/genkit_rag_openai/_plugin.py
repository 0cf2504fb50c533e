"""The plugin: any model and embedder of an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from genkit_rag.plugin_api import (
    Action,
    ActionContext,
    ActionKind,
    ActionMetadata,
    EmbedderInfo,
    GenkitError,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ModelSupports,
    Part,
    Plugin,
    model_action,
    openai_wire,
)
from genkit_rag_openai._embedder import KNOWN_EMBEDDERS, make_embedder
from genkit_rag_openai._http import DONE, Connection

_SUPPORTS = ModelSupports(
    multiturn=True,
    media=True,
    tools=True,
    system_role=True,
    tool_choice=True,
    output=["text", "json"],
    constrained="all",
)
_EMBEDS = re.compile(r"embed", re.IGNORECASE)
_NEITHER = re.compile(r"whisper|tts|dall-e|moderation|image|transcribe|realtime|sora|rerank", re.IGNORECASE)


class OpenAI(Plugin):
    """Models and embedders of OpenAI, or of any server with its protocol.

    Every model of the server is available as `<name>/<model>`: `openai/gpt-4.1-mini`. The config has the fields of
    `GenerationConfig`; other fields are passed on (`seed`, `logprobs`, `reasoning_effort`). Failed calls are not
    retried: use the retry middleware.

    Args:
        name: The prefix of the names of its actions.
        base_url: The URL up to and without `/chat/completions`; default: OPENAI_BASE_URL, otherwise OpenAI's own.
        api_key: Default: OPENAI_API_KEY. Required at the first call to OpenAI's servers, optional elsewhere.
        models: The capabilities of models, by id; plain ids only appear in the listing.
        embedders: The properties of embedders, by id, besides OpenAI's own.
        timeout: Read timeout in seconds (10 for connecting).
    """

    provides = ("model", "embedder")

    def __init__(
        self,
        name: str = "openai",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        models: Mapping[str, ModelInfo] | Sequence[str] | None = None,
        embedders: Mapping[str, EmbedderInfo] | None = None,
        timeout: float = 120.0,
    ) -> None:
        self.name = name
        self._models = dict(models) if isinstance(models, Mapping) else {id_: ModelInfo() for id_ in models or ()}
        self._embedders = {**KNOWN_EMBEDDERS, **(embedders or {})}
        self._listed_embedders = list(embedders or ())
        self._connection = Connection(base_url, api_key, timeout)

    def __repr__(self) -> str:
        return f"OpenAI({self.name!r}, base_url={self._connection.shown_url!r})"

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return the model or embedder with that name; the first call shows whether the server has it."""
        model = name.removeprefix(f"{self.name}/")
        if kind == ActionKind.MODEL:
            info = self._info(model)
            return model_action(name, _Chat(self._connection, model, info), info=info, provider="openai")
        if kind == ActionKind.EMBEDDER:
            return make_embedder(name, model, self._connection, self._embedders.get(model))
        return None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """List the server's models; the configured ones if it is unreachable."""
        found = {model: ActionKind.MODEL for model in self._models}
        found |= {model: ActionKind.EMBEDDER for model in self._listed_embedders}
        try:
            ids = await self._connection.model_ids()
        except GenkitError as error:
            if error.status not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "NOT_FOUND"):
                raise
        else:
            found = {model: kind for model in ids if (kind := _kind(model))} | found
        return [
            ActionMetadata(kind, f"{self.name}/{model}", metadata=self._metadata(kind, model))
            for model, kind in found.items()
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    def _info(self, model: str) -> ModelInfo:
        info = self._models.get(model) or ModelInfo()
        label = info.label or f"{self.name} {model}"
        return info.model_copy(update={"label": label, "supports": info.supports or _SUPPORTS})

    def _metadata(self, kind: ActionKind, model: str) -> dict[str, Any] | None:
        return {"model": self._info(model).to_wire()} if kind is ActionKind.MODEL else None


def _kind(model: str) -> ActionKind | None:
    if _EMBEDS.search(model):
        return ActionKind.EMBEDDER
    return None if _NEITHER.search(model) else ActionKind.MODEL


class _Chat:
    """One model's handler."""

    def __init__(self, connection: Connection, model: str, info: ModelInfo) -> None:
        self._connection = connection
        self._model = model
        self._supports = info.supports or _SUPPORTS

    async def __call__(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        """Generate an answer; stream chunks if the caller listens."""
        self._check_tools(request)
        key = "max_completion_tokens" if self._connection.official else "max_tokens"
        body = openai_wire.chat_body(self._model, request, max_tokens_key=key)
        api_key = request.typed_config().api_key
        if not ctx.streaming:
            return openai_wire.chat_response(request, await self._connection.post("/chat/completions", body, api_key))
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        stream = openai_wire.ChatStream(request)
        whole = False
        try:
            # Close the stream as soon as a chunk raises, instead of at garbage collection.
            async with aclosing(self._connection.events("/chat/completions", body, api_key)) as events:
                async for event in events:
                    if event is DONE:
                        whole = stream.finished
                    else:
                        _send(ctx, stream.add(event))
            if not whole:
                raise _cut_off(stream.text)
        except GenkitError as error:
            error.response = stream.partial()
            raise
        _send(ctx, stream.tool_requests())
        return stream.response()

    def _check_tools(self, request: ModelRequest) -> None:
        """Raise an error for capabilities that the model lacks, since many servers ignore them silently."""
        choice = request.tool_choice
        if not request.tools or choice == "none":
            return
        if self._supports.tools is False:
            raise GenkitError(
                "UNIMPLEMENTED",
                f"The model `{self._model}` has no tools.",
                hint="Leave `tools` out, or use a model that supports them.",
            )
        if choice == "required" and self._supports.tool_choice is False:
            raise GenkitError(
                "UNIMPLEMENTED",
                f"The model `{self._model}` cannot be made to call a tool.",
                hint="Ask for the tool in the prompt and leave `tool_choice` out.",
            )


def _send(ctx: ActionContext, parts: list[Part]) -> None:
    if parts:
        ctx.send_chunk(ModelResponseChunk(role="model", index=0, content=parts))


def _cut_off(text: str) -> GenkitError:
    return GenkitError(
        "UNAVAILABLE",
        f"The stream ended before the answer did, after {len(text)} characters.",
        hint="Ask again; what had come is in `error.response`.",
    )
