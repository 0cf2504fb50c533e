"""Defining actions: `define_*` for functions that exist, a decorator of the same kind for new ones."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, Unpack, overload

from genkit_rag._core.action import Action, ActionKind, adapt, input_type_of
from genkit_rag._core.context import ActionContext
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import hints
from genkit_rag._generation.formats import Format, register_format
from genkit_rag._generation.model import ModelAction, ModelFn, ModelInfo, model_action
from genkit_rag._generation.tools.function import ToolOptions, tool_action
from genkit_rag._generation.tools.tool import Tool, interrupt_tool
from genkit_rag._rag.embedding import Batching, EmbedderAction, EmbedderInfo, embedder_action
from genkit_rag._rag.options import IndexerOptions, RerankerOptions, RetrieverOptions
from genkit_rag._rag.reranking import RerankerAction, reranker_action
from genkit_rag._rag.retrieval import (
    IndexerAction,
    RetrieverAction,
    indexer_action,
    retriever_action,
    simple_retriever_action,
)

In = TypeVar("In")
Out = TypeVar("Out")
Fn = Callable[..., Any]
F = TypeVar("F", bound=Format)


class FlowDecorator(Protocol):
    """The type of `@ai.flow()`: the flow keeps the types of the function."""

    @overload
    def __call__(self, fn: Callable[[In], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[[In, ActionContext], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[[], Awaitable[Out]], /) -> Action[None, Out, Any]: ...
    @overload
    def __call__(self, fn: Callable[..., Any], /) -> Action[Any, Any, Any]: ...


class ToolDecorator(Protocol):
    """The type of `@ai.tool()`: the tool keeps the result type of the function."""

    @overload
    def __call__(self, fn: Callable[..., Awaitable[Out]], /) -> Tool[Out]: ...
    @overload
    def __call__(self, fn: Callable[..., Out], /) -> Tool[Out]: ...


class Definitions:
    """The half of `Genkit` that registers actions."""

    registry: Registry

    # -- flows and tools

    def define_flow(
        self, fn: Fn, *, name: str | None = None, description: str | None = None, input_type: Any = None
    ) -> Action[Any, Any, Any]:
        """Define a flow: your function as a traced action, callable in the process and over HTTP.

        Args:
            fn: `(input)`, `(input, ctx)` or `()`, sync or async; `ctx.send_chunk` streams.
            name: The function's name by default.
            description: The docstring's first line by default.
            input_type: The annotation of the first parameter by default.
        """
        flow: Action[Any, Any, Any] = Action(
            ActionKind.FLOW,
            name or fn.__name__,
            adapt(fn),
            input_type=input_type or input_type_of(fn),
            output_type=hints(fn).get("return"),
            description=description or _first_line(fn),
            telemetry=lambda _in, _out: {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": name or fn.__name__,
            },
        )
        return self.registry.register(flow)

    @overload
    def flow(self, fn: Callable[[In], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def flow(self, fn: Callable[[In, ActionContext], Awaitable[Out]], /) -> Action[In, Out, Any]: ...
    @overload
    def flow(self, fn: Callable[[], Awaitable[Out]], /) -> Action[None, Out, Any]: ...
    @overload
    def flow(self, fn: Fn, /) -> Action[Any, Any, Any]: ...
    @overload
    def flow(self, *, name: str | None = None, description: str | None = None) -> FlowDecorator: ...
    def flow(self, fn: Fn | None = None, *, name: str | None = None, description: str | None = None) -> Any:
        """Decorate a function as a flow, with or without parentheses. See `define_flow`."""
        return _decorate(fn, lambda made: self.define_flow(made, name=name, description=description))

    @overload
    def define_tool(self, fn: Callable[..., Awaitable[Out]], **options: Unpack[ToolOptions]) -> Tool[Out]: ...
    @overload
    def define_tool(self, fn: Callable[..., Out], **options: Unpack[ToolOptions]) -> Tool[Out]: ...
    def define_tool(self, fn: Fn, **options: Unpack[ToolOptions]) -> Tool[Any]:
        """Define a tool that models may call: its parameters are the schema, its docstring is the description.

        Args:
            fn: Sync or async; a parameter named `ctx` receives the context, with `ctx.interrupt` and `ctx.resumed`.
            **options: All following options, by name.
            name: The name of the tool; the function's name by default.
            description: The first paragraph of the docstring by default.
            input_type: A type or JSON Schema of the whole input, for functions of one parameter.
            output_type: A type or JSON Schema; the return annotation by default.
            metadata: Further metadata.
            multipart: Whether it returns a `ToolOutput` with parts; None to derive it from the return annotation.
            timeout: Seconds for one run in a generation, then DEADLINE_EXCEEDED; no limit by default.
        """
        return self.registry.register(tool_action(fn, **options))

    @overload
    def tool(self, fn: Callable[..., Awaitable[Out]], /) -> Tool[Out]: ...
    @overload
    def tool(self, fn: Callable[..., Out], /) -> Tool[Out]: ...
    @overload
    def tool(self, fn: None = None, /, **options: Unpack[ToolOptions]) -> ToolDecorator: ...
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Decorate a function as a tool, with or without parentheses. See `define_tool`."""
        return _decorate(fn, lambda made: self.define_tool(made, **options))

    def define_interrupt(
        self, name: str, *, description: str, input_type: Any = None, output_type: Any = None, metadata: Any = None
    ) -> Tool[Any]:
        """Define a tool that stops the generation when the model calls it, so that a person can answer.

        Args:
            name: The name of the tool.
            description: When the model should call it.
            input_type: A type or JSON Schema of the model's input.
            output_type: A type or JSON Schema of the answer, which `tool.respond` validates.
            metadata: The metadata of the interrupt, or a function of the input that returns it.
        """
        return self.registry.register(
            interrupt_tool(
                name, description=description, input_type=input_type, output_type=output_type, metadata=metadata
            )
        )

    # -- models

    def define_model(self, name: str, fn: ModelFn, *, info: ModelInfo | None = None) -> ModelAction:
        """Define a model: `async (request, ctx) -> ModelResponse`; `ctx.send_chunk` streams `ModelResponseChunk`s."""
        return self.registry.register(model_action(name, fn, info=info))

    def model_action(self, name: str, *, info: ModelInfo | None = None) -> Callable[[ModelFn], ModelAction]:
        """Decorate a function as a model. See `define_model`."""
        return lambda fn: self.define_model(name, fn, info=info)

    # -- retrieval

    def define_embedder(
        self, name: str, fn: Fn, *, info: EmbedderInfo | None = None, batching: Batching | None = None
    ) -> EmbedderAction:
        """Define an embedder: `(documents)` or `(documents, options)`, returning one vector for each document."""
        return self.registry.register(embedder_action(name, fn, info=info, batching=batching))

    def embedder(
        self, name: str, *, info: EmbedderInfo | None = None, batching: Batching | None = None
    ) -> Callable[[Fn], EmbedderAction]:
        """Decorate a function as an embedder. See `define_embedder`."""
        return lambda fn: self.define_embedder(name, fn, info=info, batching=batching)

    def define_indexer(self, name: str, fn: Fn, *, options_type: Any = IndexerOptions) -> IndexerAction:
        """Define an indexer: `(documents)` or `(documents, options)`."""
        return self.registry.register(indexer_action(name, fn, options_type=options_type))

    def indexer(self, name: str, *, options_type: Any = IndexerOptions) -> Callable[[Fn], IndexerAction]:
        """Decorate a function as an indexer. See `define_indexer`."""
        return lambda fn: self.define_indexer(name, fn, options_type=options_type)

    def define_retriever(self, name: str, fn: Fn, *, options_type: Any = RetrieverOptions) -> RetrieverAction:
        """Define a retriever: `(query)` or `(query, options)`, returning documents, best first."""
        return self.registry.register(retriever_action(name, fn, options_type=options_type))

    def retriever(self, name: str, *, options_type: Any = RetrieverOptions) -> Callable[[Fn], RetrieverAction]:
        """Decorate a function as a retriever. See `define_retriever`."""
        return lambda fn: self.define_retriever(name, fn, options_type=options_type)

    def define_simple_retriever(
        self,
        name: str,
        fn: Fn,
        *,
        content: str | Callable[[Any], Any] | None = None,
        metadata: Sequence[str] | Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> RetrieverAction:
        """Define a retriever by a function that returns strings, mappings or documents.

        Args:
            name: Its name.
            fn: `(query)` or `(query, options)`.
            content: The key of an item's text, or a function of the item.
            metadata: The keys to keep, or a function of the item; all but the content's by default.
        """
        return self.registry.register(simple_retriever_action(name, fn, content=content, metadata=metadata))

    def simple_retriever(
        self,
        name: str,
        *,
        content: str | Callable[[Any], Any] | None = None,
        metadata: Sequence[str] | Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> Callable[[Fn], RetrieverAction]:
        """Decorate a function as a simple retriever. See `define_simple_retriever`."""
        return lambda fn: self.define_simple_retriever(name, fn, content=content, metadata=metadata)

    def define_reranker(self, name: str, fn: Fn, *, options_type: Any = RerankerOptions) -> RerankerAction:
        """Define a reranker: `(query, documents)` or `(query, documents, options)`.

        The function gives one score for each document (higher is better), or the documents, scored, best first.
        """
        return self.registry.register(reranker_action(name, fn, options_type=options_type))

    def reranker(self, name: str, *, options_type: Any = RerankerOptions) -> Callable[[Fn], RerankerAction]:
        """Decorate a function as a reranker. See `define_reranker`."""
        return lambda fn: self.define_reranker(name, fn, options_type=options_type)

    # -- formats

    def define_format(self, fmt: F) -> F:
        """Register an output format, so that `generate(output_format=fmt.name)` finds it.

        Args:
            fmt: An object of a subclass of `Format`.

        Raises:
            GenkitError: INVALID_ARGUMENT if it is not a format; ALREADY_EXISTS if its name is taken.
        """
        register_format(self.registry, fmt)
        return fmt


def _decorate(fn: Any, define: Callable[[Fn], Any]) -> Any:
    return define if fn is None else define(fn)


def _first_line(fn: Fn) -> str | None:
    doc = inspect.getdoc(fn)
    return doc.strip().splitlines()[0] if doc and doc.strip() else None
