"""Actions: all that the app has, and a page to run each one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import GenkitError
from genkit_rag._server.dev_ui.samples import form_schema, sample_input
from genkit_rag._server.dev_ui.ui import Screen, Ui

_ORDER = [
    "flow",
    "agent",
    "retriever",
    "reranker",
    "indexer",
    "embedder",
    "model",
    "tool",
    "tool.v2",
    "executable-prompt",
    "prompt",
    "evaluator",
]
_WORDS = {"util": "Utilities", "tool.v2": "Tools (v2)", "executable-prompt": "Executable prompts"}


@dataclass(frozen=True)
class ListedAction:
    """An action as the list shows it."""

    key: str
    kind: str
    name: str
    description: str

    @property
    def href(self) -> str:
        """Where its page is."""
        return f"/actions{quote(self.key)}"

    @property
    def text(self) -> str:
        """The text that a search matches."""
        return f"{self.name} {self.kind} {self.description}".lower()


def listed(key: str, facts: dict[str, Any]) -> ListedAction:
    """Convert an action of the reflection API for the list."""
    _, kind, name = f"{key}//".split("/", 2)
    return ListedAction(key, kind, name.rstrip("/"), str(facts.get("description") or ""))


def matches(text: str, query: str) -> bool:
    """Return whether every word of a query is in the text, contiguous or as a subsequence of letters."""
    return all(word in text or _scattered(text, word) for word in query.lower().split())


def _scattered(text: str, word: str) -> bool:
    name = text.partition(" ")[0]  # letter by letter only in the name: a description has all letters
    place = -1
    for letter in word:
        place = name.find(letter, place + 1)
        if place < 0:
            return False
    return True


def grouped(actions: Sequence[ListedAction]) -> list[tuple[str, str, list[ListedAction]]]:
    """Group actions as `(kind, title, actions)` in the order of interest."""
    kinds = {action.kind for action in actions}
    usual = [*_ORDER, *(str(kind) for kind in ActionKind)]
    ordered = sorted(kinds, key=lambda kind: (usual.index(kind) if kind in usual else len(usual), kind))
    return [
        (
            kind,
            _WORDS.get(kind, kind.replace("-", " ").capitalize() + "s"),
            sorted((one for one in actions if one.kind == kind), key=lambda one: one.name),
        )
        for kind in ordered
    ]


def routes(ui: Ui) -> list[BaseRoute]:
    """Create the routes of the screen."""

    async def index(request: Request) -> Response:
        query = request.query_params.get("q", "")
        if await ui.runtimes.current() is None:
            raise GenkitError("UNAVAILABLE", "No app is connected.")
        found = [listed(key, facts) for key, facts in (await ui.runtimes.list_actions()).items()]
        shown = [action for action in found if matches(action.text, query)]
        return await ui.page(request, "actions/list.html", groups=grouped(shown), query=query, total=len(found))

    async def detail(request: Request) -> Response:
        key = "/" + request.path_params["key"]
        facts = (await ui.runtimes.list_actions()).get(key)
        if facts is None:
            hint = "The app may have been changed; the list of actions shows what it has."
            raise GenkitError("NOT_FOUND", f"The app has no action `{key}`.", hint=hint)
        action = listed(key, facts)
        schema = form_schema(action.kind, facts)
        return await ui.page(
            request,
            "actions/detail.html",
            action=action,
            facts=facts,
            schema=schema,
            sample=sample_input(action.kind, schema),
        )

    return [Route("/actions", index), Route("/actions/{key:path}", detail)]


screen = Screen("Actions", "/actions", "actions", order=10, routes=routes)
