"""The plugin: one embedder over the shared local encoder."""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag.plugin_api import (
    Batching,
    Document,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    EmbedderSupports,
    GenkitError,
    Plugin,
    TextEncoder,
    Vectors,
    embedder_action,
    invalid,
    run_in_thread,
)

WEIGHTS = "all-minilm-l6-v2"
DIMENSIONS = 384
MAX_TOKENS = 256
"""The sequence length of the published model (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)."""

# A hundred texts of a hundred tokens are about a second: a worker is not held for long, and there are enough texts to
# sort by length.
_BATCHING = Batching(max_texts=128)


class MiniLM(Plugin):
    """Registers the embedder `minilm/all-minilm-l6-v2`: English text, 384 dimensions, length 1, 256 tokens.

    The weights come by `genkit-rag models pull all-minilm-l6-v2` (23 MB) and are loaded at the first call; without them
    that call raises FAILED_PRECONDITION with this command.

    Args:
        name: The first part of the embedder's name.
        threads: CPU threads of one call.
    """

    provides = ("embedder",)
    default_action = WEIGHTS

    def __init__(self, *, name: str = "minilm", threads: int = 2) -> None:
        if threads < 1:
            raise invalid("threads", threads, "must be at least 1")
        self.name = name
        self._encoder = TextEncoder(WEIGHTS, max_tokens=MAX_TOKENS, threads=threads)

    async def init(self) -> Sequence[EmbedderAction]:
        """Return the single embedder action."""
        info = EmbedderInfo(
            label="all-MiniLM-L6-v2, int8",
            dimensions=DIMENSIONS,
            supports=EmbedderSupports(input=["text"], multilingual=False),
            revision=self._encoder.revision,
            normalized=True,
            max_tokens=MAX_TOKENS,
        )
        return [
            embedder_action(
                f"{self.name}/{WEIGHTS}",
                self._embed,
                info=info,
                batching=_BATCHING,
                count_tokens=self._encoder.count_tokens,
            )
        ]

    async def close(self) -> None:
        """Frees the model."""
        self._encoder.close()

    async def _embed(self, documents: Sequence[Document], options: EmbedderOptions) -> Vectors:
        if options.dimensions not in (None, DIMENSIONS):
            raise GenkitError(
                "UNIMPLEMENTED",
                f"`{self.name}/{WEIGHTS}` gives {DIMENSIONS} dimensions, not {options.dimensions}.",
                hint="Leave `dimensions` out: this model was not trained for shorter vectors.",
            )
        for position, document in enumerate(documents):
            if not document.is_text:
                raise invalid(f"input[{position}]", document, "must be text", hint="This embedder takes text only.")
        return await run_in_thread(self._encoder.embed, [document.text for document in documents])
