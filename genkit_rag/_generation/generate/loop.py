"""The generate loop: call the model, run the tools that it asks for, and repeat until it answers."""

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
from genkit_rag._generation.generate.answer import (
    ChunkEmitter,
    SendChunk,
    add_usage,
    check_answer,
    internal,
    with_basic_stats,
    with_correction,
    without_corrections,
)
from genkit_rag._generation.generate.option_types import check_caller
from genkit_rag._generation.generate.options import GenerateOptions, first_request
from genkit_rag._generation.generate.output import validation_feedback
from genkit_rag._generation.generate.plan import Plan, make_plan
from genkit_rag._generation.generate.resume import interrupted, is_interrupted, resume_tools
from genkit_rag._generation.generate.tools import Outcome, ToolRunner
from genkit_rag._generation.middleware.base import GenerateParams, ModelParams, chain, overrides
from genkit_rag._generation.model import (
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    Usage,
    model_supports,
    set_results,
)
from genkit_rag._generation.no_context import response_without_context
from genkit_rag._generation.operation import Operation
from genkit_rag._generation.tools.interrupts import to_resume


async def generate(
    registry: Registry,
    options: GenerateOptions,
    *,
    context: Mapping[str, Any] | None = None,
    on_chunk: SendChunk | None = None,
) -> ModelResponse:
    """Run a generation: call the model, run the tools that it asks for, and return the final response.

    `response.request` holds the conversation without the augmentation; `usage` is the sum over all model calls, with
    characters counted where the model reports none; `latency_ms` is the time of the whole call, tools included.

    Args:
        registry: The registry of models and tools.
        options: The options of the generation.
        context: Facts about the caller for models, tools and middleware; by default the running action's.
        on_chunk: Called with every chunk; `index` grows when the role changes, a tool message is one chunk.

    Every error is a `GenkitError` (except cancellation and exits of the process) with the conversation so far as
    `error.response`: INVALID_ARGUMENT for invalid options, NOT_FOUND for an unknown model or tool, ABORTED beyond
    `max_turns`, FAILED_PRECONDITION for a blocked or absent answer and for a resume without interrupts,
    DEADLINE_EXCEEDED for a tool that exceeds its timeout, INTERNAL for an exception of a model, tool or middleware,
    which is the `__cause__`.
    """
    request = first_request(options)
    check_caller(request, context, on_chunk)
    run = functools.partial(run_generation, registry, options)
    action: Action[ModelRequest, ModelResponse, ModelResponseChunk] = Action(ActionKind.UTIL, "generate", run)
    return await action(request, context=context, on_chunk=on_chunk)


def generate_stream(
    registry: Registry, options: GenerateOptions, *, context: Mapping[str, Any] | None = None
) -> ActionStream[ModelResponseChunk, ModelResponse]:
    """Start a generation: iterate over `.stream` for chunks, await `.response` for the response."""
    return ActionStream(lambda send: generate(registry, options, context=context, on_chunk=send))


async def run_generation(
    registry: Registry,
    options: GenerateOptions,
    request: ModelRequest,
    ctx: ActionContext,
    *,
    call_type: type[GenerateCall] | None = None,
) -> ModelResponse:
    """Resolve the options, run the loop and complete the response; errors get the conversation so far.

    Args:
        registry: The registry of models and tools.
        options: The options of the generation.
        request: The first request of the conversation, from `first_request`.
        ctx: The context of the running action.
        call_type: A `GenerateCall` with other steps.
    """
    progress = Progress(request)
    try:
        if options.step_name is not None:
            name_span(options.step_name)
        plan = await make_plan(registry, options, request)
        return await (call_type or GenerateCall)(plan, options, ctx, progress).run()
    except GenkitError as error:
        error.response = progress.complete(progress.answer or ModelResponse())
        raise
    except Exception as error:
        wrapped = internal("The generation", error)
        wrapped.response = progress.complete(progress.answer or ModelResponse())
        raise wrapped from error


class Progress:
    """The conversation so far of one generation.

    Attributes:
        request: The last request, before the middleware of the model.
        sent: The last request as it was sent to the model.
        answer: The model's answer to it.
        usage: The usage of all model calls.
        corrections: How often the model was asked to correct its output.
    """

    __slots__ = ("_started", "answer", "corrections", "request", "sent", "usage")

    def __init__(self, request: ModelRequest) -> None:
        self.request = self.sent = request
        self.answer: ModelResponse | None = None
        self.usage: Usage | None = None
        self.corrections = 0
        self._started = time.perf_counter()

    def complete(self, response: ModelResponse) -> ModelResponse:
        """Return the response with the request, usage and latency of the whole generation."""
        return response.model_copy(
            update={
                "request": without_corrections(self.request) if self.corrections else self.request,
                "usage": self.usage,
                "latency_ms": (time.perf_counter() - self._started) * 1000,
            }
        )


class GenerateCall:
    """The loop of one generation."""

    def __init__(self, plan: Plan, options: GenerateOptions, ctx: ActionContext, progress: Progress) -> None:
        self._plan = plan
        self._options = options
        self._progress = progress
        self._emitter: ChunkEmitter | None = None
        if ctx.streaming:
            self._emitter = ChunkEmitter(ctx, plan.output.parse_chunk if plan.output else None)
        self._ctx = ActionContext(ctx.context, self._emitter.emit if self._emitter else None)
        self._turns = chain(plan.use, "wrap_generate", self._run_turns)
        self._has_turn_middleware = any(overrides(item, "wrap_generate") for item in plan.use)
        self._call_model = chain(plan.use, "wrap_model", self._model_step)
        self._tools = ToolRunner(
            plan.tools, plan.use, timeout=options.tool_timeout, return_errors=options.tool_errors == "return"
        )

    async def run(self) -> ModelResponse:
        """Run the turns and return the final response with its output and citations."""
        refusal = response_without_context(self._options.no_context, self._options.docs, self._plan.augmentation)
        if refusal is not None:
            if refusal.message is not None and self._ctx.streaming:
                self._ctx.send_chunk(ModelResponseChunk(role="model", content=refusal.message.content))
            return self._finish(refusal)
        response: Any = await self._turns(GenerateParams(self._progress.request, self._ctx, 0))
        if not isinstance(response, ModelResponse):
            raise GenkitError(
                "INTERNAL",
                f"A `wrap_generate` middleware returned {response!r:.100}, not a ModelResponse.",
                hint="Every `wrap_generate` must return the result of `next`.",
            )
        return self._finish(response)

    async def _run_turns(self, params: GenerateParams) -> ModelResponse:
        """Run this turn and those that follow; return the final response."""
        options, progress = self._options, self._progress
        if params.turn == 0 and options.resume is not None:
            resumed = await self._resume(params)
            if isinstance(resumed, ModelResponse):
                return resumed
            params = resumed
        while True:
            request, ctx, turn = params.request, params.ctx, params.turn
            progress.request, progress.answer = request, None
            answer = progress.answer = await self._ask(request, ctx, turn)
            progress.usage = add_usage(progress.usage, with_basic_stats(progress.sent, answer))
            if answer.operation is not None:
                return answer.model_copy(update={"request": request})
            message = check_answer(answer)
            tool_requests = answer.tool_requests
            if not tool_requests or options.return_tool_requests:
                if not tool_requests and (again := self._correction(request, answer)) is not None:
                    params = GenerateParams(again, ctx, turn)
                    continue
                # Only turn middleware looks at the conversation here; `_finish` adds the request otherwise.
                return answer.model_copy(update={"request": request}) if self._has_turn_middleware else answer
            if turn >= options.max_turns:
                raise GenkitError(
                    "ABORTED",
                    f"The model asked for tools in more than {options.max_turns} turns (max_turns).",
                    hint="Raise `max_turns`, or continue from `error.response.messages`.",
                )
            outcomes = await self._tools.run_all(tool_requests, ctx, turn)
            if is_interrupted(outcomes):
                return self._interrupted(request, answer, message, outcomes)
            params = GenerateParams(_next_request(request, ctx, message, _tool_message(outcomes)), ctx, turn + 1)
            if self._has_turn_middleware:
                return await self._turns(params)

    async def _resume(self, params: GenerateParams) -> GenerateParams | ModelResponse:
        """Apply the answers to the interrupts; return the next parameters, or the response of a new interrupt."""
        request, ctx = params.request, params.ctx
        assert self._options.resume is not None
        resumed = await resume_tools(request, to_resume(self._options.resume), self._tools, ctx)
        before = request.model_copy(update={"messages": request.messages[:-1]})
        if is_interrupted(resumed.outcomes):
            return self._interrupted(before, ModelResponse(), resumed.message, resumed.outcomes)
        return GenerateParams(_next_request(before, ctx, resumed.message, resumed.tool_message), ctx, 0)

    def _interrupted(
        self, request: ModelRequest, answer: ModelResponse, message: Message, outcomes: Sequence[Outcome]
    ) -> ModelResponse:
        self._progress.request = request
        answer = self._progress.answer = interrupted(answer, message, outcomes)
        return answer.model_copy(update={"request": request})

    async def _ask(self, request: ModelRequest, ctx: ActionContext, turn: int) -> ModelResponse:
        """Call the model through the middleware."""
        model = self._plan.model
        self._progress.sent = request
        try:
            params = ModelParams(request, ctx, turn, model, self._plan.registry, self._fit)
            answer: Any = await self._call_model(params)
        except GenkitError as error:
            partial = error.response  # with a request it belongs to another generation, which the model has run
            if isinstance(partial, ModelResponse) and partial.message is not None and partial.request is None:
                self._progress.answer = partial  # the text before the stream broke off
            raise
        except Exception as error:
            raise internal(f"The model `{model.name}`", error) from error
        if not isinstance(answer, ModelResponse):
            raise GenkitError(
                "INTERNAL",
                f"The model `{model.name}` returned {answer!r:.100}, not a ModelResponse.",
                hint="Every middleware must return the result of `next`.",
            )
        return answer

    async def _model_step(self, params: ModelParams) -> ModelResponse:
        """Fit the request to the model and call the model; the innermost step of the middleware chain."""
        request, ctx = self._fit(params), params.ctx
        self._progress.sent = request
        send = ctx.send_chunk if ctx.streaming else None
        answer: Any = await params.model(request, context=ctx.context, on_chunk=send)
        # A background model returns the operation that it has started.
        return ModelResponse(operation=answer) if isinstance(answer, Operation) else answer

    def _fit(self, params: ModelParams) -> ModelRequest:
        """Return the request with docs and output in the form that this model supports."""
        request, output = params.request, self._plan.output
        if request.docs and not model_supports(params.model).get("context"):
            request = self._plan.augmentation.apply(request)
        return output.fit(params.model, request) if output is not None else request

    def _correction(self, request: ModelRequest, answer: ModelResponse) -> ModelRequest | None:
        """Return a request to correct an invalid output; None for a valid output or without retries left."""
        message, output, progress = answer.message, self._plan.output, self._progress
        no_retries = progress.corrections >= self._options.output_retries
        if output is None or no_retries or answer.finish_reason == "length" or message is None:
            return None
        if any(part.is_data for part in message.content):
            return None  # the provider has parsed the output already, and it is not in the text
        try:
            output.parse(answer.text, answer.finish_reason)
        except GenkitError as error:
            feedback = validation_feedback(error, output)
        else:
            return None
        progress.corrections += 1
        if self._emitter is not None:
            self._emitter.next_message()
        return with_correction(request, message, feedback)

    def _finish(self, response: ModelResponse) -> ModelResponse:
        """Return the response with the output, citations, usage and request of the whole generation."""
        output, citations = self._plan.output, None
        finished = self._progress.complete(response)
        if "[" in (text := finished.text):
            docs = self._cited_docs()
            passages = self._plan.augmentation.passages(docs) if docs else None
            citations = check_citations(text, passages, self._progress.request.messages)
        parse = functools.partial(output.parse, finish_reason=finished.finish_reason) if output is not None else None
        return set_results(finished, parse, citations)

    def _cited_docs(self) -> list[Document] | None:
        """Return the documents that the answer may cite.

        These are the documents of the last request to the model, because a middleware may have retrieved its own.
        Where a middleware has changed a given document, the given one with the same id is returned.
        """
        sent, given = self._progress.sent.docs, self._progress.request.docs
        if not sent or not given or sent is given:
            return sent or given
        known = {doc.id: doc for doc in given}
        return [known.get(doc.id, doc) for doc in sent]


def _next_request(request: ModelRequest, ctx: ActionContext, answer: Message, tools: Message) -> ModelRequest:
    """Return the request of the next turn, and send the tool message as a chunk."""
    if ctx.streaming:
        ctx.send_chunk(ModelResponseChunk(role="tool", content=tools.content))
    return request.model_copy(update={"messages": [*request.messages, answer, tools]})


def _tool_message(outcomes: Sequence[Any]) -> Message:
    return Message(role="tool", content=list(outcomes))
