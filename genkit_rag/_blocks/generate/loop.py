"""The generate loop: call the model, run the tools it asks for, feed back, until there is an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from genkit_rag._blocks.augmentation import DEFAULT_AUGMENTATION, AugmentWithContext
from genkit_rag._blocks.citations import find_citations
from genkit_rag._blocks.generate.options import GenerateOptions, check_options, first_request
from genkit_rag._blocks.generate.output import fit_output, output_config, output_parser, supports
from genkit_rag._blocks.generate.tools import ToolRunner, resolve_tools, run_tool, run_tool_requests
from genkit_rag._blocks.generate.usage import add_usage, with_basic_stats
from genkit_rag._blocks.middleware.base import GenerateParams, ModelParams, chain, overrides, to_middleware
from genkit_rag._blocks.model import ModelAction, ModelRequest, ModelResponse, ModelResponseChunk, Usage
from genkit_rag._blocks.part import Role
from genkit_rag._blocks.tool import tool_definition
from genkit_rag._core.action import Action, ActionKind, ActionStream
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry

DEFAULT_MODEL = "defaultModel"
"""The name under which `registry.values` holds the name of the default model."""

SendChunk = Callable[[ModelResponseChunk], None]


async def generate(
    registry: Registry,
    options: GenerateOptions,
    *,
    context: Mapping[str, Any] | None = None,
    on_chunk: SendChunk | None = None,
) -> ModelResponse:
    """Returns the model's final response, after the tools that it asked for have run.

    `response.request` holds the conversation without the augmentation; `usage` is the sum over all model calls, with
    characters counted where the model gives none; `latency_ms` is the time of the whole call, tools included.

    Args:
        registry: Where models and tools are found.
        options: What to do.
        context: Facts about the caller for models, tools and middleware; the running action's by default.
        on_chunk: Called with every chunk; `index` grows when the role changes, a tool message is one chunk.

    Every error is a `GenkitError` (cancellation and exits of the process apart) with the conversation so far as
    `error.response`: INVALID_ARGUMENT for options that do not fit, NOT_FOUND for an unknown model or tool, ABORTED
    beyond `max_turns`, FAILED_PRECONDITION for a blocked or absent answer, INTERNAL for an exception of a model,
    tool or middleware, which is its `__cause__`.
    """
    try:
        request = first_request(options)
    except GenkitError as error:
        error.response = ModelResponse(request=ModelRequest(messages=[]))
        raise
    call = GenerateCall(registry, options)
    action: Action[ModelRequest, ModelResponse, ModelResponseChunk] = Action(ActionKind.UTIL, "generate", call.run)
    return await action(request, context=context, on_chunk=on_chunk)


def generate_stream(
    registry: Registry, options: GenerateOptions, *, context: Mapping[str, Any] | None = None
) -> ActionStream[ModelResponseChunk, ModelResponse]:
    """Returns the running generation: iterate `.stream` for chunks, await `.response` for the response."""
    return ActionStream(lambda send: generate(registry, options, context=context, on_chunk=send))


class GenerateCall:
    """One generation."""

    def __init__(self, registry: Registry, options: GenerateOptions) -> None:
        self._registry = registry
        self._options = options
        self._usage: Usage | None = None
        self._last_request = ModelRequest(messages=[])
        self._sent_request = self._last_request
        self._answer: ModelResponse | None = None
        self._chunk_role: Role | None = None
        self._chunk_index = 0
        self._augmentation = DEFAULT_AUGMENTATION

    async def run(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        """Returns the final response; see `generate`."""
        started = time.perf_counter()
        self._last_request = request
        try:
            await self._prepare(request)
            inner = ActionContext(ctx.context, self._emitter(ctx) if ctx.streaming else None)
            response = await self._turns(GenerateParams(request, inner, 0))
            return self._sealed(response, started)
        except GenkitError as error:
            error.response = self._progress(started)
            raise
        except Exception as error:
            wrapped = _internal("The generation", error)
            wrapped.response = self._progress(started)
            raise wrapped from error

    async def _prepare(self, request: ModelRequest) -> None:
        """Checks the options, finds model and tools, completes the request and binds the middleware."""
        options = self._options
        check_options(options, request)
        self._registry, tools = await resolve_tools(self._registry, options.tools)
        self._model = await self._resolve_model()
        use = to_middleware(options.use)
        # One in `use` has done it already when the model is called, and a request is augmented once only.
        own = (item for item in use if isinstance(item, AugmentWithContext))
        self._augmentation = next(own, DEFAULT_AUGMENTATION)
        self._call_model = chain(use, "wrap_model", self._model_step)
        self._tools = ToolRunner(
            tools, chain(use, "wrap_tool", run_tool), return_errors=options.tool_errors == "return"
        )
        self._turns = chain(use, "wrap_generate", self._run_turns)
        self._is_wrapped = any(overrides(item, "wrap_generate") for item in use)
        request.tools = [tool_definition(tool) for tool in tools.values()] or None
        request.output = output_config(options)

    async def _resolve_model(self) -> ModelAction:
        model = self._options.model or default_model(self._registry)
        if isinstance(model, Action):
            return model
        if not model:
            raise GenkitError("INVALID_ARGUMENT", "There is no model to ask.",
                              hint="Pass `model=`, or set a default model: Genkit(model=...).")  # fmt: skip
        return await self._registry.get(ActionKind.MODEL, model.removeprefix("/model/"))

    async def _run_turns(self, params: GenerateParams) -> ModelResponse:
        """Returns the final response of this turn and those that follow."""
        options = self._options
        while True:
            request, ctx, turn = params.request, params.ctx, params.turn
            self._last_request, self._answer = request, None
            answer = self._answer = await self._ask(request, ctx, turn)
            self._usage = add_usage(self._usage, with_basic_stats(self._sent_request, answer))
            _check_answer(answer)
            wishes = answer.tool_requests
            if not wishes or options.return_tool_requests:
                # Middleware may look at the conversation; without any, `_sealed` puts the request in.
                return answer.model_copy(update={"request": request}) if self._is_wrapped else answer
            if turn >= options.max_turns:
                raise GenkitError(
                    "ABORTED",
                    f"The model asked for tools in more than {options.max_turns} turns (max_turns).",
                    hint="Raise `max_turns`, or go on from `error.response.messages`.",
                )
            message = await run_tool_requests(wishes, ctx, turn, self._tools)
            if ctx.streaming:
                ctx.send_chunk(ModelResponseChunk(role="tool", content=message.content))
            request = request.model_copy(update={"messages": [*request.messages, answer.message, message]})
            params = GenerateParams(request, ctx, turn + 1)
            if self._is_wrapped:
                return await self._turns(params)

    async def _ask(self, request: ModelRequest, ctx: ActionContext, turn: int) -> ModelResponse:
        """Returns the model's response, through the middleware."""
        self._sent_request = request
        try:
            answer: Any = await self._call_model(ModelParams(request, ctx, turn, self._model, self._registry))
        except GenkitError:
            raise
        except Exception as error:
            raise _internal(f"The model `{self._model.name}`", error) from error
        if not isinstance(answer, ModelResponse):
            raise GenkitError("INTERNAL", f"The model `{self._model.name}` gave {answer!r:.100}, not a ModelResponse.",
                              hint="Every middleware must return what `next` gives it.")  # fmt: skip
        return answer

    async def _model_step(self, params: ModelParams) -> ModelResponse:
        """Fits the request to the model and calls it; the innermost step."""
        request, ctx = params.request, params.ctx
        if request.docs and not supports(params.model).get("context"):
            request = self._augmentation.apply(request)
        if request.output is not None:
            request = fit_output(params.model, request, self._options.output_instructions)
        self._sent_request = request
        return await params.model(request, context=ctx.context, on_chunk=ctx.send_chunk if ctx.streaming else None)

    def _emitter(self, ctx: ActionContext) -> SendChunk:
        """Returns what gives chunks their role and index and hands them to the caller."""
        send = ctx.send_chunk

        def emit(chunk: ModelResponseChunk) -> None:
            role = chunk.role or "model"
            if role != self._chunk_role:
                if self._chunk_role is not None:
                    self._chunk_index += 1
                self._chunk_role = role
            index = self._chunk_index
            if chunk.role != role or chunk.index != index:
                if chunk.index is not None:  # a model may send one object twice: it is not ours to change
                    chunk = chunk.model_copy()
                chunk.role, chunk.index = role, index
            send(chunk)

        return emit

    def _progress(self, started: float) -> ModelResponse:
        """Returns the conversation so far, for an error."""
        answer = self._answer or ModelResponse()
        return answer.model_copy(
            update={"request": self._last_request, "usage": self._usage, "latency_ms": _since(started)}
        )

    def _sealed(self, response: Any, started: float) -> ModelResponse:
        """Returns the response with everything that belongs to the whole generation."""
        if not isinstance(response, ModelResponse):
            raise GenkitError("INTERNAL", f"The middleware gave {response!r:.100}, not a ModelResponse.",
                              hint="Every `wrap_generate` must return what `next` gives it.")  # fmt: skip
        sealed = response.model_copy(
            update={"request": self._last_request, "usage": self._usage, "latency_ms": _since(started)}
        )
        # A middleware may have found docs of its own: what was sent last is what the answer cites.
        options, docs = self._options, self._sent_request.docs or self._last_request.docs
        if options.output_schema is not None or options.output_format == "json":
            sealed._parse = output_parser(options.output_schema, sealed.finish_reason)  # pyright: ignore[reportPrivateUsage]
        if docs and (text := sealed.text):
            found = find_citations(text, self._augmentation.passages(docs))
            sealed._citations, sealed._unknown_citations = found  # pyright: ignore[reportPrivateUsage]
        return sealed


def default_model(registry: Registry) -> str | None:
    """Returns the name of the default model: of the registry, else of its parents."""
    found = registry.values.get(DEFAULT_MODEL)
    return found if found or registry.parent is None else default_model(registry.parent)


def _internal(what: str, error: Exception) -> GenkitError:
    hint = "The exception is the `__cause__` of this error."
    return GenkitError("INTERNAL", f"{what} failed: {type(error).__name__}: {error}", hint=hint, cause=error)


def _check_answer(answer: ModelResponse) -> None:
    if answer.message is not None and answer.finish_reason != "blocked":
        return
    what = "blocked the answer" if answer.finish_reason == "blocked" else "gave no answer"
    raise GenkitError(
        "FAILED_PRECONDITION",
        f"The model {what}: {answer.finish_message or 'it gave no reason'}.",
        hint="See `error.response.raw` for what came from the model.",
        details={"finishReason": answer.finish_reason},
    )


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
