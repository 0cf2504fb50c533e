"""The ways to choose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genkit_rag.plugin_api import (
    ActionKind,
    Document,
    EmbedderAction,
    GenkitError,
    Registry,
    check_prompt_template,
    generate_text,
    invalid,
    service_of,
)
from genkit_rag_router._options import RouteConfig

ROUTER_PROMPT = """\
Which of these sources would hold the answer to the question below? Choose as few as possible, {most} at most.

{routes}

Question: {query}

Write the names of the chosen sources, one a line, the best first, and nothing else. If none fits write: none
"""
"""The prompt for the model: `{query}`, `{most}`, and `{routes}`, a line `- name: description` for each."""

Choose = Callable[..., Any]
"""`(query)`, sync or async: the name of a route, a list of names, or None when none fits."""


@dataclass(frozen=True)
class Choice:
    """Names, best first, and how they were found, for people."""

    names: Sequence[str]
    how: str


@dataclass(frozen=True)
class ByEmbedding:
    """Chooses the routes whose description, or an example of theirs, is nearest to the query.

    Args:
        embedder: The name of the embedder.
        most: How many routes at most.
        least: The cosine below which a route does not fit; None takes the nearest however far it is.
    """

    embedder: str
    most: int = 1
    least: float | None = None
    _vectors: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_most(self.most)
        if self.least is not None and not -1 <= self.least <= 1:
            raise invalid("least", self.least, "must be a cosine, in [-1, 1]")

    async def choose(self, registry: Registry, query: Document, routes: Mapping[str, RouteConfig]) -> Choice:
        """Return the nearest routes with their cosines."""
        action = await registry.get(ActionKind.EMBEDDER, self.embedder)
        if not isinstance(action, EmbedderAction):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"`{action.key}` was not made with `embedder_action` or `@ai.embedder`.",
                hint="Make it with one of them.",
            )
        service = service_of(action)
        owned = [(name, text) for name, route in routes.items() for text in route.texts]
        missing = list(dict.fromkeys(text for _, text in owned if text not in self._vectors))
        if missing:  # descriptions are embedded once; two first calls at a time embed them twice
            made = await service.documents([Document(text) for text in missing])
            self._vectors.update(zip(missing, _unit(made.vectors), strict=True))
        vector = _unit((await service.query(query))[None, :])[0]
        cosines: dict[str, float] = {}
        for name, text in owned:
            cosines[name] = max(cosines.get(name, -1.0), float(self._vectors[text] @ vector))
        order = sorted(cosines, key=lambda name: -cosines[name])
        names = [name for name in order if self.least is None or cosines[name] >= self.least][: self.most]
        return Choice(names, ", ".join(f"{name} {cosines[name]:.3f}" for name in order))


@dataclass(frozen=True)
class ByModel:
    """Lets a model choose by the routes' descriptions.

    Args:
        model: The name of the model.
        most: The maximum number of routes.
        prompt: The prompt, with the placeholders `{query}`, `{routes}` and `{most}`.
        config: The model's config; `{"temperature": 0}` for a deterministic choice.
    """

    model: str
    most: int = 1
    prompt: str = ROUTER_PROMPT
    config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_most(self.most)
        check_prompt_template(self.prompt, ("query", "routes", "most"))

    async def choose(self, registry: Registry, query: Document, routes: Mapping[str, RouteConfig]) -> Choice:
        """Return the routes that the model named."""
        lines = "\n".join(f"- {name}: {' '.join(route.description.split())}" for name, route in routes.items())
        prompt = self.prompt.format(query=query.data, routes=lines, most=self.most)
        answer = await generate_text(registry, self.model, prompt, self.config)
        shown = " ".join(answer.split())
        said = repr(shown if len(shown) <= 80 else f"{shown[:77]}...")
        return Choice(parse_routes(answer, routes)[: self.most], f"{self.model} said {said}")


def parse_routes(answer: str, names: Collection[str]) -> list[str]:
    """Parse the chosen names of an answer, in order and unique: JSON, lines, otherwise mentions; never fails."""
    told = [line for line in _json_strings(answer) or re.split(r"[\n,;]", answer)]
    stripped = [re.sub(r"^\s*(?:\d{1,2}[.):]\s+|[-*•]\s+)", "", line).strip(" \t\r\"'`*[]{}.") for line in told]
    exact = {name.casefold(): name for name in names}
    found = [exact[line.casefold()] for line in stripped if line.casefold() in exact]
    if not found:
        spots = [
            (match.start(), name)
            for name in names
            if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", answer))
        ]
        found = [name for _, name in sorted(spots)]
    return list(dict.fromkeys(found))


def _json_strings(answer: str) -> list[str]:
    match = re.search(r"\[[^\[\]]*\]", answer)
    try:
        value: Any = json.loads(match[0]) if match else None
    except (ValueError, RecursionError):
        return []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _check_most(most: int) -> None:
    if most < 1:
        raise invalid("most", most, "must be at least 1")


def _unit(vectors: Any) -> Any:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
