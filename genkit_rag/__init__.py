"""RAG in which everything is an Action: embedders, indexers, retrievers, rerankers, models and tools in one registry.

This is the door for users. Plugin authors use `genkit_rag.plugin_api`, their tests `genkit_rag.testing`.
"""

import typing

if typing.TYPE_CHECKING:
    from genkit_rag import _exports
    from genkit_rag._exports import *  # noqa: F403 - its `__all__` is ours

    __all__ = []
    __all__ += _exports.__all__
else:

    def __getattr__(name: str) -> typing.Any:
        # All names come with the first one: the command's help, and its completion at each key, need none of them.
        from importlib import import_module

        door = import_module("genkit_rag._exports")
        globals().update({each: getattr(door, each) for each in door.__all__}, __all__=door.__all__)
        try:
            return globals()[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        __getattr__("__all__")
        return sorted(globals())
