"""The plugin: GGUF models by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

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
    Plugin,
    invalid,
    model_action,
    openai_wire,
    weights_path,
)
from genkit_rag_llama_cpp._engine import Engine

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

_SUPPORTS = ModelSupports(
    multiturn=True,
    media=False,
    tools=False,
    system_role=True,
    tool_choice=False,
    output=["text", "json"],
    constrained="all",
)


class LlamaCpp(Plugin):
    """Language models in this process: `llama-cpp/smollm2-135m`, and every GGUF file that you name.

    A model is loaded at its first request and answers one request at a time. Output schemas are enforced by a grammar,
    so an answer that was not cut off always parses. Tools are not supported. The config has the fields of
    `GenerationConfig` and llama.cpp's own (`seed`, `min_p`, `repeat_penalty`). The default temperature is 0, so that
    the same request has the same answer.

    Args:
        models: Names and paths of GGUF files, besides `smollm2-135m`, which `genkit-rag models pull` downloads.
        name: The prefix of the names of its actions.
        n_ctx: Tokens of prompt and answer together; reserved memory grows with it.
        n_threads: Threads that compute an answer.
        max_output_tokens: The default limit of an answer, since small models may not stop by themselves.
    """

    provides = ("model",)
    default_action = DEFAULT_MODEL

    def __init__(
        self,
        models: Mapping[str, str | Path] | None = None,
        *,
        name: str = "llama-cpp",
        n_ctx: int = 4096,
        n_threads: int = 2,
        max_output_tokens: int = 1024,
    ) -> None:
        for argument, value in (("n_ctx", n_ctx), ("n_threads", n_threads), ("max_output_tokens", max_output_tokens)):
            if value < 1:
                raise invalid(argument, value, "must be at least 1")
        self.name = name
        self._paths = {model: Path(path).expanduser() for model, path in (models or {}).items()}
        self._n_ctx = n_ctx
        self._n_threads = n_threads
        self._max_output_tokens = max_output_tokens
        self._engines: dict[str, Engine] = {}

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        """Return the models without loading them."""
        return [self._action(model) for model in {DEFAULT_MODEL: None, **self._paths}]

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return the model with that name; None if it is not configured."""
        model = name.removeprefix(f"{self.name}/")
        if kind != ActionKind.MODEL or (model != DEFAULT_MODEL and model not in self._paths):
            return None
        return self._action(model)

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """Return nothing; `init` returns all models."""
        return []

    async def close(self) -> None:
        """Frees the models."""
        for engine in self._engines.values():
            await engine.close()

    def _action(self, model: str) -> Action[Any, Any, Any]:
        engine = self._engines.get(model)
        if engine is None:
            engine = self._engines[model] = Engine(model, lambda: self._path(model), self._n_ctx, self._n_threads)
        info = ModelInfo(label=f"llama.cpp {model}", supports=_SUPPORTS)
        handler = _Chat(model, engine, self._max_output_tokens)
        return model_action(f"{self.name}/{model}", handler, info=info, provider="llama.cpp")

    def _path(self, model: str) -> Path:
        return self._paths[model] if model in self._paths else weights_path(DEFAULT_MODEL, DEFAULT_FILE)


class _Chat:
    """One model's handler."""

    def __init__(self, model: str, engine: Engine, max_output_tokens: int) -> None:
        self._model = model
        self._engine = engine
        self._defaults = {"temperature": 0, "max_tokens": max_output_tokens}

    async def __call__(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        """Generate an answer; stream chunks if the caller listens."""
        stream = openai_wire.ChatStream(request)
        body = {**self._defaults, **openai_wire.chat_body(self._model, self._without_tools(request))}
        try:
            async with aclosing(self._engine.chat({**body, "stream_options": {"include_usage": True}})) as chunks:
                async for chunk in chunks:
                    parts = stream.add(_checked(chunk))
                    if parts:
                        ctx.send_chunk(ModelResponseChunk(role="model", index=0, content=parts))
            if not stream.finished:
                raise GenkitError(
                    "CANCELLED",
                    f"The model `{self._model}` was closed while it answered.",
                    hint="Close the plugin after the last answer; what had come is in `error.response`.",
                )
        except GenkitError as error:
            error.response = stream.partial()
            raise
        return stream.response()

    def _without_tools(self, request: ModelRequest) -> ModelRequest:
        """Return the request without tools that may not be called; UNIMPLEMENTED for others."""
        if not request.tools:
            return request
        if request.tool_choice == "none":
            return request.model_copy(update={"tools": None})
        raise GenkitError(
            "UNIMPLEMENTED",
            f"The model `{self._model}` has no tools.",
            hint="Leave `tools` out, or use a model that supports them (llama-server and the OpenAI plugin).",
        )


def _checked(chunk: Any) -> Any:
    """Return the chunk; INVALID_ARGUMENT with both numbers for a prompt that is too long."""
    error = cast(dict[str, Any], chunk).get("error") if isinstance(chunk, dict) else None
    if isinstance(error, dict) and error.get("type") == "exceed_context_size_error":
        tokens, room = error["n_prompt_tokens"], error["n_ctx"]
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The prompt has {tokens} tokens and the model's context is {room}.",
            hint="Pass fewer or shorter documents, or a larger context: LlamaCpp(n_ctx=...).",
            details={"prompt_tokens": tokens, "n_ctx": room},
        )
    return chunk
