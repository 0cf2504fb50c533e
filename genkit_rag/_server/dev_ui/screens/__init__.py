"""The screens of the navigation: every module here that defines `screen`."""

from __future__ import annotations

import importlib
import pkgutil

from genkit_rag._server.dev_ui.ui import Screen


def all_screens() -> list[Screen]:
    """Return the screens in the order of the navigation."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    screens: list[Screen] = [module.screen for module in modules if hasattr(module, "screen")]
    return sorted(screens, key=lambda screen: screen.order)
