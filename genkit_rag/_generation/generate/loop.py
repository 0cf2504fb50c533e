"""The generate loop: call the model, run the tools it asks for, feed back, until there is an answer."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from genkit_rag._core.action import Action, ActionKind, ActionStream
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._core.tracing import name_span
from genkit_rag._documents.citations import check_citations
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message
from genkit_rag._generation.augmentation import DEFAULT_AUGMENTATION, AugmentWithContext
from genkit_rag._generation.generate.answer import check_answer, internal, with_retry, without_retries
from genkit_rag._generation.generate.models import resolve_model
from genkit_rag._generation.generate.option_types import check_caller
from genkit_rag._generation.generate.options import GenerateOptions, check_options, first_request
from genkit_rag._generation.generate.output import output_of, validation_feedback
from genkit_rag._generation.generate.resume import interrupted, is_interrupted, resume_tools
from genkit_rag._generation.generate.streaming import ChunkEmitter, SendChunk
from genkit_rag._generation.generate.tools import Outcome, ToolRunner, resolve_tools, tool_step
from genkit_rag._generation.generate.usage import add_usage, with_basic_stats
from genkit_rag._generation.middleware.base import GenerateParams, ModelParams, added_tools, chain, overrides
from genkit_rag._generation.middleware.registered import to_middleware
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk, Usage, model_supports
from genkit_rag._generation.no_context import nothing_found
from genkit_rag._generation.operation import Operation
from genkit_rag._generation.resource import resolve_resources
from genkit_rag._generation.tools.interrupts import to_resume
from genkit_rag._generation.tools.tool import tool_definition


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
    beyond `max_turns`, FAILED_PRECONDITION for a blocked or absent answer and for a resume without interrupts,
    DEADLINE_EXCEEDED for a tool that takes too long, INTERNAL for an exception of a model, tool or middleware, which
    is its `__cause__`.
    """
    request = first_request(options)
    check_caller(request, context, on_chunk)
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
        self._emitter: ChunkEmitter | None = None
        self._augmentation = DEFAULT_AUGMENTATION
        self._retries = options.output_retries

    async def run(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        """Returns the final response; see `generate`."""
        started = time.perf_counter()
        self._last_request = request
        try:
            if self._options.step_name is not None:
                name_span(self._options.step_name)
            inner = ActionContext(ctx.context, await self._prepare(request, ctx))
            refusal = nothing_found(self._options.no_context, self._options.docs, self._augmentation)
            if refusal is not None and refusal.message is not None and inner.streaming:
                inner.send_chunk(ModelResponseChunk(role="model", content=refusal.message.content))
            response: Any = refusal or await self._turns(GenerateParams(self._last_request, inner, 0))
            return self._sealed(response, started)
        except GenkitError as error:
            error.response = self._progress(started)
            raise
        except Exception as error:
            wrapped = internal("The generation", error)
            wrapped.response = self._progress(started)
            raise wrapped from error

    async def _prepare(self, request: ModelRequest, ctx: ActionContext) -> SendChunk | None:
        """Checks the options, finds model and tools, completes the request and binds the middleware."""
        options = self._options
        check_options(request)
        use = to_middleware(options.use or (), self._registry)
        wanted = [*(options.tools or ()), *added_tools(use)]
        self._registry, tools = await resolve_tools(self._registry, wanted)
        self._model = await resolve_model(self._registry, options.model)
        # One in `use` has done it already when the model is called, and a request is augmented once only.
        own = (item for item in use if isinstance(item, AugmentWithContext))
        self._augmentation = next(own, DEFAULT_AUGMENTATION)
        self._call_model = chain(use, "wrap_model", self._model_step)
        run_tool = chain(use, "wrap_tool", tool_step(options.tool_timeout))
        self._tools = ToolRunner(tools, run_tool, return_errors=options.tool_errors == "return")
        self._turns = chain(use, "wrap_generate", self._run_turns)
        self._is_wrapped = any(overrides(item, "wrap_generate") for item in use)
        self._output = output_of(self._registry, options)
        request.tools = [tool_definition(tool) for tool in tools.values()] or None
        request.output = self._output.config if self._output else None
        request.messages = await resolve_resources(self._registry, request.messages, options.resources or ())
        if not ctx.streaming:
            return None
        self._emitter = ChunkEmitter(ctx, self._output.parse_chunk if self._output else None)
        return self._emitter.emit

    async def _run_turns(self, params: GenerateParams) -> ModelResponse:
        """Returns the final response of this turn and those that follow."""
        options = self._options
        if params.turn == 0 and options.resume is not None:
            resumed = await self._resume(params)
            if isinstance(resumed, ModelResponse):
                return resumed
            params = resumed
        while True:
            request, ctx, turn = params.request, params.ctx, params.turn
            self._last_request, self._answer = request, None
            answer = self._answer = await self._ask(request, ctx, turn)
            self._usage = add_usage(self._usage, with_basic_stats(self._sent_request, answer))
            if answer.operation is not None:
                return answer.model_copy(update={"request": request})
            message = check_answer(answer)
            wishes = answer.tool_requests
            if not wishes or options.return_tool_requests:
                if not wishes and (again := self._output_retry(request, answer)) is not None:
                    params = GenerateParams(again, ctx, turn)
                    continue
                # Middleware may look at the conversation; without any, `_sealed` puts the request in.
                return answer.model_copy(update={"request": request}) if self._is_wrapped else answer
            if turn >= options.max_turns:
                raise GenkitError(
                    "ABORTED",
                    f"The model asked for tools in more than {options.max_turns} turns (max_turns).",
                    hint="Raise `max_turns`, or go on from `error.response.messages`.",
                )
            outcomes = await self._tools.run_all(wishes, ctx, turn)
            if is_interrupted(outcomes):
                return self._interrupted(request, answer, message, outcomes)
            params = GenerateParams(_follow(request, ctx, message, _tool_message(outcomes)), ctx, turn + 1)
            if self._is_wrapped:
                return await self._turns(params)

    async def _resume(self, params: GenerateParams) -> GenerateParams | ModelResponse:
        """Returns the parameters with the answers to the interrupts, or the response when a tool asks once more."""
        request, ctx = params.request, params.ctx
        assert self._options.resume is not None
        resumed = await resume_tools(request, to_resume(self._options.resume), self._tools, ctx)
        before = request.model_copy(update={"messages": request.messages[:-1]})
        if is_interrupted(resumed.outcomes):
            return self._interrupted(before, ModelResponse(), resumed.message, resumed.outcomes)
        return GenerateParams(_follow(before, ctx, resumed.message, resumed.tool_message), ctx, 0)

    def _interrupted(
        self, request: ModelRequest, answer: ModelResponse, message: Message, outcomes: Sequence[Outcome]
    ) -> ModelResponse:
        self._last_request = request
        answer = self._answer = interrupted(answer, message, outcomes)
        return answer.model_copy(update={"request": request})

    def _output_retry(self, request: ModelRequest, answer: ModelResponse) -> ModelRequest | None:
        """Returns the request that shows the model what is wrong with its answer; None when nothing is, or no more."""
        message = answer.message
        if self._output is None or self._retries == 0 or answer.finish_reason == "length" or message is None:
            return None
        if any(part.is_data for part in message.content):
            return None  # what the provider has read already is not in the text
        try:
            self._output.parse(answer.text, answer.finish_reason)
        except GenkitError as error:
            feedback = validation_feedback(error, self._output)
        else:
            return None
        self._retries -= 1
        if self._emitter is not None:
            self._emitter.next_message()
        return with_retry(request, message, feedback)

    async def _ask(self, request: ModelRequest, ctx: ActionContext, turn: int) -> ModelResponse:
        """Returns the model's response, through the middleware."""
        self._sent_request = request
        try:
            params = ModelParams(request, ctx, turn, self._model, self._registry, self._fitted)
            answer: Any = await self._call_model(params)
        except GenkitError as error:
            partial = error.response  # one with a request is another generation's, which the model has made
            if isinstance(partial, ModelResponse) and partial.message is not None and partial.request is None:
                self._answer = partial  # what came before the stream broke off
            raise
        except Exception as error:
            raise internal(f"The model `{self._model.name}`", error) from error
        if not isinstance(answer, ModelResponse):
            raise GenkitError(
                "INTERNAL",
                f"The model `{self._model.name}` gave {answer!r:.100}, not a ModelResponse.",
                hint="Every middleware must return what `next` gives it.",
            )
        return answer

    async def _model_step(self, params: ModelParams) -> ModelResponse:
        """Fits the request to the model and calls it; the innermost step."""
        request, ctx = self._fitted(params), params.ctx
        self._sent_request = request
        send = ctx.send_chunk if ctx.streaming else None
        answer: Any = await params.model(request, context=ctx.context, on_chunk=send)
        # A background model answers with the operation that has begun.
        return ModelResponse(operation=answer) if isinstance(answer, Operation) else answer

    def _fitted(self, params: ModelParams) -> ModelRequest:
        """Returns the request as this model can serve it."""
        request = params.request
        if request.docs and not model_supports(params.model).get("context"):
            request = self._augmentation.apply(request)
        return self._output.fit(params.model, request) if self._output is not None else request

    def _progress(self, started: float) -> ModelResponse:
        """Returns the conversation so far, for an error."""
        return self._completed(self._answer or ModelResponse(), started)

    def _completed(self, response: ModelResponse, started: float) -> ModelResponse:
        retried = self._retries < self._options.output_retries
        request = without_retries(self._last_request) if retried else self._last_request
        return response.model_copy(
            update={
                "request": request,
                "usage": self._usage,
                "latency_ms": (time.perf_counter() - started) * 1000,
            }
        )

    def _sealed(self, response: Any, started: float) -> ModelResponse:
        """Returns the response with everything that belongs to the whole generation."""
        if not isinstance(response, ModelResponse):
            raise GenkitError(
                "INTERNAL",
                f"The middleware gave {response!r:.100}, not a ModelResponse.",
                hint="Every `wrap_generate` must return what `next` gives it.",
            )
        sealed = self._completed(response, started)
        if self._output is not None:
            sealed._parse = functools.partial(self._output.parse, finish_reason=sealed.finish_reason)  # pyright: ignore[reportPrivateUsage]
        if "[" in (text := sealed.text):
            docs = self._cited_docs()
            given = self._augmentation.passages(docs) if docs else None
            sealed._citations = check_citations(text, given, self._last_request.messages)  # pyright: ignore[reportPrivateUsage]
        return sealed

    def _cited_docs(self) -> list[Document] | None:
        """Returns what the answer cites: what was sent last, since a middleware may have found docs of its own.

        One may have changed them on their way as well: what has the id of a given document is that document.
        """
        sent, given = self._sent_request.docs, self._last_request.docs
        if not sent or not given or sent is given:
            return sent or given
        known = {doc.id: doc for doc in given}
        return [known.get(doc.id, doc) for doc in sent]


def _follow(request: ModelRequest, ctx: ActionContext, answer: Message, tools: Message) -> ModelRequest:
    """Returns the request of the next turn; a listener gets the tool message as a chunk."""
    if ctx.streaming:
        ctx.send_chunk(ModelResponseChunk(role="tool", content=tools.content))
    return request.model_copy(update={"messages": [*request.messages, answer, tools]})


def _tool_message(outcomes: Sequence[Any]) -> Message:
    return Message(role="tool", content=list(outcomes))
