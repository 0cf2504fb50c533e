"""The app that `genkit-rag start` runs without a program: the plugins of `genkit_rag.toml`, until it is stopped."""

from __future__ import annotations

from genkit_rag._ai.genkit import Genkit


async def _serve() -> None:
    """Return at once: `run_main` serves the reflection API until it is stopped."""


if __name__ == "__main__":
    ai = Genkit.from_config()
    ai.run_main(_serve())
