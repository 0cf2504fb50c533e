"""Prompts: rendering with variables, answers, templates and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.augmentation import estimate_tokens
from genkit_rag._server.dev_ui.screens.prompts.files import PromptPlace, checked_path, place_of
from genkit_rag._server.dev_ui.screens.prompts.source import prompt_source
from genkit_rag._server.dev_ui.ui import OWN_RUN, Screen, Ui, json_object, json_response

with require_extra("dev", "starlette"):
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Route

RENDER_SOURCE, RUN_SOURCE = "/util/render-prompt", "/util/run-prompt"
"""Actions of the app that render and run a prompt which is being written."""


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt as the app describes it.

    Attributes:
        key: `name` or `name.variant`.
        name: Its name.
        variant: Which of several of that name.
        description: One sentence.
        facts: Model, config, schemas, tools and template.
        metadata: Where these are from.
        schema: The JSON Schema of its input.
    """

    key: str
    name: str
    variant: str | None
    description: str | None
    facts: Mapping[str, Any]
    metadata: Mapping[str, Any]
    schema: Any


def routes(ui: Ui) -> Sequence[BaseRoute]:
    """Create the routes of the screen."""
    prompts = _Prompts(ui)
    return [
        Route("/prompts", prompts.index, methods=["GET"]),
        Route("/prompts/render", prompts.render, methods=["POST"]),
        Route("/prompts/save", prompts.save, methods=["POST"]),
        Route("/prompts/p/{key:path}", prompts.page, methods=["GET"]),
    ]


class _Prompts:
    def __init__(self, ui: Ui) -> None:
        self._ui = ui

    async def index(self, request: Request) -> Response:
        """List the prompts with their variants."""
        found = _prompts(await self._ui.runtimes.list_actions())
        groups: dict[str, list[ShownPrompt]] = {}
        for one in sorted(found.values(), key=lambda one: (one.name, one.variant or "")):
            groups.setdefault(one.name, []).append(one)
        return await self._ui.page(request, "prompts/list.html", groups=groups)

    async def page(self, request: Request) -> Response:
        """Show a prompt with its source: its file if the app names it, otherwise derived from its metadata."""
        actions = await self._ui.runtimes.list_actions()
        found = _prompts(actions)
        shown = _one(found, request.path_params["key"])
        place = await run_in_thread(place_of, shown.metadata, self._ui.root)
        stored = await run_in_thread(place.read) if place else None
        source = stored[0] if stored else prompt_source(shown.facts, shown.description)
        return await self._ui.page(
            request,
            "prompts/page.html",
            prompt=shown,
            source=source,
            place=place if stored else None,
            version=stored[1] if stored else None,
            variants=[one for one in found.values() if one.name == shown.name],
            default=(shown.facts.get("input") or {}).get("default"),
            can_edit=RENDER_SOURCE in actions and RUN_SOURCE in actions and source is not None,
            can_run=f"/executable-prompt/{shown.key}" in actions,
        )

    async def render(self, request: Request) -> Response:
        """Render a prompt, or the edited source of it, in the app."""
        body = await json_object(request)
        key, source, context = body.get("key"), body.get("source"), body.get("context")
        if not isinstance(key, str) or (source is not None and not isinstance(source, str)):
            raise invalid("key", key, "must be a prompt's name, and `source` text")
        if context is not None and not isinstance(context, dict):
            raise invalid("context", context, "must be an object")
        action, value = f"/prompt/{key}", body.get("input")
        if source is not None:
            action, value = RENDER_SOURCE, {"source": source, "input": value, "name": key}
        who = cast("dict[str, Any] | None", context)
        outcome = await self._ui.runtimes.call(action, value, context=who, labels=OWN_RUN)
        return json_response({"request": outcome.result, "traceId": outcome.trace_id, **tokens_of(outcome.result)})

    async def save(self, request: Request) -> Response:
        """Save a source to the file that the app names, or to a new file beside it."""
        body = await json_object(request)
        source, expected, beside = body.get("source"), body.get("version"), body.get("saveAs")
        if not isinstance(source, str):
            raise invalid("source", source, "must be text")
        shown = _one(_prompts(await self._ui.runtimes.list_actions()), body.get("key"))
        place = await run_in_thread(place_of, shown.metadata, self._ui.root)
        if place is None:
            raise GenkitError(
                "FAILED_PRECONDITION",
                "The app names no folder of prompt files in this project.",
                hint="Download the text, and put it into the app's `prompt_dir`.",
            )
        if beside is not None:
            if not isinstance(beside, str):
                raise invalid("saveAs", beside, "must be the name of a new prompt")
            place, expected = PromptPlace(place.folder, checked_path(f"{beside}.prompt")), None
        elif not isinstance(expected, str):
            raise invalid("version", expected, "must be the version that was shown")
        version = await run_in_thread(place.write, source, expected)
        return json_response({"path": place.path, "version": version})


def tokens_of(request: Any) -> dict[str, Any]:
    """Estimate the tokens of a rendered request: of each message, of tools and schemas, and in total."""
    given = cast("dict[str, Any]", request) if isinstance(request, dict) else {}
    messages = [_tokens(one.get("content")) for one in given.get("messages") or [] if isinstance(one, dict)]
    more = sum(estimate_tokens(json.dumps(given[name])) for name in ("tools", "output") if given.get(name))
    return {"tokens": messages, "moreTokens": more, "totalTokens": sum(messages) + more}


def _tokens(content: Any) -> int:
    parts: list[Any] = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return sum(estimate_tokens(text) for text in texts if isinstance(text, str))


def _prompts(actions: Mapping[str, Mapping[str, Any]]) -> dict[str, ShownPrompt]:
    """Return the prompts by key, tolerating metadata of any form."""
    found: dict[str, ShownPrompt] = {}
    for key, action in actions.items():
        if not key.startswith("/prompt/"):
            continue
        name = key.removeprefix("/prompt/")
        metadata: Any = action.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        facts: Any = metadata.get("prompt")
        facts = facts if isinstance(facts, dict) else {}
        plain, variant, given = facts.get("name"), facts.get("variant"), facts.get("input")
        schema = action.get("inputSchema") or (given.get("schema") if isinstance(given, dict) else None)
        found[name] = ShownPrompt(
            name,
            plain if isinstance(plain, str) else name,
            variant if isinstance(variant, str) else None,
            action.get("description"),
            {**facts, "input": given if isinstance(given, dict) else {}},
            metadata,
            schema,
        )
    return found


def _one(found: Mapping[str, ShownPrompt], key: object) -> ShownPrompt:
    if not isinstance(key, str) or key not in found:
        raise GenkitError("NOT_FOUND", "The app has no such prompt.", hint="The list says what it has.")
    return found[key]


screen = Screen("Prompts", "/prompts", "prompts", order=60, routes=routes)
