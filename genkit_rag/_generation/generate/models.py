"""Finds the model that a generation asks."""

from __future__ import annotations

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._generation.model import ModelAction

DEFAULT_MODEL = "defaultModel"
"""The name under which `registry.values` holds the name of the default model."""


async def resolve_model(registry: Registry, model: str | ModelAction | None) -> ModelAction:
    """Returns the model action, of either kind; the default model for None.

    Raises INVALID_ARGUMENT when there is no default, NOT_FOUND for an unknown name.
    """
    model = model or default_model(registry)
    if isinstance(model, Action):
        return model
    if not model:
        raise GenkitError(
            "INVALID_ARGUMENT",
            "There is no model to ask.",
            hint="Pass `model=`, or set a default model: Genkit(model=...).",
        )
    background = f"/{ActionKind.BACKGROUND_MODEL}/"
    if model.startswith(background):
        return await registry.get(ActionKind.BACKGROUND_MODEL, model.removeprefix(background))
    name = model.removeprefix("/model/")
    found = await registry.resolve(ActionKind.MODEL, name) or await registry.resolve(ActionKind.BACKGROUND_MODEL, name)
    return found or await registry.get(ActionKind.MODEL, name)


def default_model(registry: Registry) -> str | None:
    """Returns the name of the default model: of the registry, else of its parents."""
    found = registry.values.get(DEFAULT_MODEL)
    return found if found or registry.parent is None else default_model(registry.parent)
