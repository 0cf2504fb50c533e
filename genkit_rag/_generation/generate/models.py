"""Resolving the model of a generation."""

from __future__ import annotations

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._generation.model import ModelAction

DEFAULT_MODEL = "defaultModel"
"""The key of the default model's name in `registry.values`."""


async def resolve_model(registry: Registry, model: str | ModelAction | None) -> ModelAction:
    """Return the model action of either kind; the default model for None.

    Raises INVALID_ARGUMENT when there is no default, NOT_FOUND for an unknown name.
    """
    model = model or default_model(registry)
    if isinstance(model, Action):
        return model
    if not model:
        raise GenkitError(
            "INVALID_ARGUMENT",
            "`model` is missing and no default model is set.",
            hint="Pass `model=`, or set a default model: Genkit(model=...).",
        )
    background = f"/{ActionKind.BACKGROUND_MODEL}/"
    if model.startswith(background):
        return await registry.get(ActionKind.BACKGROUND_MODEL, model.removeprefix(background))
    name = model.removeprefix("/model/")
    found = await registry.resolve(ActionKind.MODEL, name) or await registry.resolve(ActionKind.BACKGROUND_MODEL, name)
    return found or await registry.get(ActionKind.MODEL, name)


def default_model(registry: Registry) -> str | None:
    """Return the name of the default model of the registry, or of its nearest parent."""
    found = registry.values.get(DEFAULT_MODEL)
    return found if found or registry.parent is None else default_model(registry.parent)
