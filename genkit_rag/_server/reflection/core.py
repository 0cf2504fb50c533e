"""The reflection API without a transport: listing and running the actions of a registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind, ActionMetadata
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.middleware import middleware_descriptions
from genkit_rag._server.reflection import wire
from genkit_rag._server.reflection.runs import Run, RunRequest

logger = logging.getLogger("genkit_rag.reflection")

VALUES = ("defaultModel", "middleware")
"""The types of values that can be asked for."""


class Reflection:
    """What Genkit's tools and ours see of one app, in the event loop that it is used in.

    Args:
        registry: The app's actions.
        on_telemetry_server: Called with the URL of a telemetry server that a tool offers.
    """

    def __init__(self, registry: Registry, on_telemetry_server: Callable[[str], None] | None = None) -> None:
        self.registry = registry
        self._on_telemetry_server = on_telemetry_server
        self._runs: set[Run] = set()

    async def list_actions(self) -> dict[str, dict[str, Any]]:
        """List the actions by key in the form of Genkit's tools: absent fields are left out instead of null."""
        return {item.key: self._describe(item) for item in await self.registry.list_actions()}

    def _describe(self, item: ActionMetadata) -> dict[str, Any]:
        action = self.registry.lookup(item.kind, item.name)
        facts: dict[str, Any] = {
            "key": item.key,
            "name": item.name,
            "actionType": item.kind,
            "description": item.description,
            "metadata": _metadata(item),
        }
        if action is not None:
            facts["inputSchema"] = _attempt(lambda: action.input_schema, item.key)
            facts["outputSchema"] = _attempt(lambda: action.output_schema, item.key)
        return {name: value for name, value in facts.items() if value is not None}

    def values(self, kind: str | None) -> dict[str, Any]:
        """Return the registry's values of a type by name; INVALID_ARGUMENT for an unknown type."""
        if kind == "defaultModel":
            model = self.registry.values.get("defaultModel")
            return {} if model is None else {"defaultModel": model}
        if kind == "middleware":
            return dict(middleware_descriptions(self.registry))
        raise invalid("type", kind, f"must be one of {', '.join(VALUES)}")

    def envs(self) -> list[str]:
        """Return the environments of this runtime."""
        return ["dev"]

    def offer_telemetry_server(self, url: Any) -> None:
        """Accept the telemetry server that a tool offers."""
        if isinstance(url, str) and self._on_telemetry_server is not None:
            self._on_telemetry_server(url)

    async def start(self, request: RunRequest, *, stream: bool = False) -> Run:
        """Start a run in its own task and return it.

        Raises:
            GenkitError: NOT_FOUND; INVALID_ARGUMENT with the JSON path; or an error of the plugin that provides the
                action.
        """
        action: Action[Any, Any, Any] = await self.registry.get(*request.kind_and_name)
        value = schema.parse(action.input_type, request.input, f"The input of `{action.key}`")
        run = Run(action, value, request, stream=stream)
        self._runs.add(run)
        run.task.add_done_callback(lambda _: self._runs.discard(run))
        return run

    def cancel(self, trace_id: Any) -> bool:
        """Cancel the runs of a trace and return whether there were any; INVALID_ARGUMENT without a trace id."""
        if not isinstance(trace_id, str) or not trace_id:
            raise invalid("traceId", trace_id, "must be the trace id of a run")
        found = [run for run in self._runs if run.trace_id == trace_id]
        for run in found:
            run.cancel()
        return bool(found)

    async def close(self, grace: float = 0.25) -> None:
        """Cancel the running runs and wait up to `grace` seconds."""
        runs = list(self._runs)
        for run in runs:
            run.cancel()
        if runs:
            await asyncio.wait([run.task for run in runs], timeout=grace)


def _metadata(item: ActionMetadata) -> dict[str, Any]:
    found = _attempt(lambda: _plain(dict(item.metadata or {})), item.key) or {}
    if item.kind == ActionKind.EVALUATOR:
        given = found.get("evaluator")
        facts = {
            "evaluatorDisplayName": item.name,
            "evaluatorDefinition": item.description or item.name,
            "evaluatorIsBilled": False,
        }
        found["evaluator"] = {**facts, **(given if isinstance(given, Mapping) else {})}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    plain = schema.dump(value)
    wire.encode(plain)  # raises for what is no JSON
    return plain


def _attempt(make: Callable[[], Any], key: str) -> Any:
    """Return the result of `make`, or None on an error, so that one action does not break the whole list."""
    try:
        return make()
    except Exception as error:
        logger.debug("left out of the description of %s: %r", key, error)
        return None
