"""Test doubles without network or weights: `FakeEmbedder` and `ScriptedModel`.

The contract suites are in `genkit_rag.testing.contracts`, which needs `pip install "genkit-rag[testing]"`. Their names
can be imported from here as well.
"""

import typing

from genkit_rag.testing._embedder import FakeEmbedder
from genkit_rag.testing._scripted_model import ScriptedModel

if typing.TYPE_CHECKING:
    from genkit_rag.testing.contracts import (
        EmbedderContract,
        ModelContract,
        ModelUnderTest,
        RerankerContract,
        VectorStoreContract,
    )
else:

    def __getattr__(name: str) -> typing.Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Import the contract suites on first use: they import pytest, the test doubles do not.
        from genkit_rag.testing import contracts

        globals()[name] = getattr(contracts, name)
        return globals()[name]


__all__ = [
    "EmbedderContract",
    "FakeEmbedder",
    "ModelContract",
    "ModelUnderTest",
    "RerankerContract",
    "ScriptedModel",
    "VectorStoreContract",
]
