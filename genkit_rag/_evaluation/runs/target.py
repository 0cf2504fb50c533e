"""The target of an evaluation: an action, a prompt or a function, run on the input of each row."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import dump, parse
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.document import Document, to_document
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag._generation.prompt.prompt import ExecutablePrompt
from genkit_rag._rag.retrieval import RetrieverRequest, RetrieverResponse

Target = str | Action[Any, Any, Any] | ExecutablePrompt | Callable[[Any], Any]
Run = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A target that can be run.

    Attributes:
        name: What reports call it: `/flow/answer`, or a function's name.
        run: Gives the output for an input.
    """

    name: str
    run: Run


async def resolve_target(registry: Registry, target: Target, options: Any) -> ResolvedTarget:
    """Resolve the target to a callable; NOT_FOUND for an unknown action.

    Args:
        registry: The registry of the actions.
        target: A key such as `/flow/answer`, an action, a prompt or a function of the input.
        options: Options of a retriever, or config of a model; INVALID_ARGUMENT for other targets.
    """
    if isinstance(target, ExecutablePrompt):
        target = target.actions[1]
    if isinstance(target, str):
        kind, _, name = target.removeprefix("/").partition("/")
        if not target.startswith("/") or not name:
            raise invalid("target", target, "must be an action's key", hint="Write such as /flow/answer.")
        target = await registry.get(kind, name)
    if isinstance(target, Action):
        run = _of_action(registry, target, options)
        return ResolvedTarget(target.key, run)
    if not callable(target):
        raise invalid("target", target, "must be an action's key, an action, a prompt or a function")
    if options is not None:
        raise _no_options(options)
    return ResolvedTarget(getattr(target, "__name__", type(target).__name__), _of_function(target))


def _no_options(options: Any) -> GenkitError:
    return invalid(
        "target_options",
        options,
        "are for retrievers and models only",
        hint="Put what a flow or a function needs into its input.",
    )


def _of_action(registry: Registry, action: Action[Any, Any, Any], options: Any) -> Run:
    if action.kind == ActionKind.RETRIEVER:
        return lambda value: action(_query(value, options))
    if action.kind in (ActionKind.MODEL, ActionKind.BACKGROUND_MODEL):
        return lambda value: _ask(registry, action, value, options)
    if options is not None:
        raise _no_options(options)

    async def run(value: Any) -> Any:
        return await action(parse(action.input_type, value, f"The input of `{action.key}`"))

    return run


def _query(value: Any, options: Any) -> RetrieverRequest:
    if isinstance(value, Mapping) and "query" in value:
        known = cast("Mapping[str, Any]", value)
        query, own = known["query"], known.get("options")
    else:
        query, own = value, None
    made = parse(Document, query, "The query") if isinstance(query, Mapping) else to_document(query, "query")
    return RetrieverRequest(query=made, options=own if own is not None else options)


async def _ask(registry: Registry, model: Action[Any, Any, Any], value: Any, config: Any) -> ModelResponse:
    if isinstance(value, Mapping):
        request: ModelRequest = parse(ModelRequest, value, f"The input of `{model.key}`")
        found: ModelResponse = await model(request)
        return found
    return await generate(registry, GenerateOptions(model=model, prompt=value, config=config))


def _of_function(fn: Callable[[Any], Any]) -> Run:
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004

    async def run(value: Any) -> Any:
        result = fn(value) if is_async else await run_in_thread(fn, value)
        return await result if inspect.isawaitable(result) else result

    return run


def output_of(raw: Any) -> tuple[Any, dict[str, Any]]:
    """Return the output of a target as JSON-compatible data, with its context.

    The output of a model's response is its text, or its data if a schema was requested.
    """
    if isinstance(raw, ModelResponse):
        said = raw.citations
        known = {"citationKeys": [citation.key for citation in said]} if said or said.unknown else {}
        message = raw.message
        data = next((part.data for part in message.content if part.is_data), None) if message else None
        return (raw.text if data is None else dump(data)), known
    if isinstance(raw, list) and not isinstance(raw, RetrieverResponse):
        items: list[Any] = raw
        if items and all(isinstance(item, Document) for item in items):
            raw = RetrieverResponse(items)
    return dump(raw), {}
