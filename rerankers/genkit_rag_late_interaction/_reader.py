"""Reads whole documents with a model that takes 256 tokens: in windows, one behind the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from genkit_rag.plugin_api import TextEncoder, Vectors, weights_path

SPECIAL = 2
"""Tokens of a window that are the model's own."""

MOST_TOKENS = 4
"""Tokens of a character at most: a Korean syllable is taken apart into its three letters."""

CHARACTERS = 200
"""The maximum characters of a token if a document is cut: text beyond it is not tokenised."""


class Reader:
    """Token vectors of texts of any length.

    Args:
        encoder: Computes the vectors of a window.
        max_tokens: Tokens of a text that are read.
    """

    def __init__(self, encoder: TextEncoder, max_tokens: int) -> None:
        self._encoder = encoder
        self._max_tokens = max_tokens
        self._tokenizer: Any = None
        self._lock = threading.Lock()

    @property
    def revision(self) -> str:
        """The identity of the vectors: the weights and their settings."""
        return f"{self._encoder.revision} {self._encoder.max_tokens} {self._max_tokens}"

    def query(self, text: str) -> Vectors:
        """Return the token vectors of a query, limited to its first window."""
        return self._encoder.embed_tokens([text])[0]

    def documents(self, texts: list[str]) -> list[Vectors]:
        """Return the token vectors of each text, concatenated over its windows."""
        windows = [self.windows(text) for text in texts]
        vectors = iter(self._encoder.embed_tokens([window for several in windows for window in several]))
        return [np.concatenate([next(vectors) for _ in several]) for several in windows]

    def windows(self, text: str) -> list[str]:
        """Split the text into windows for the model, between words; at least one."""
        size = self._encoder.max_tokens - SPECIAL
        text = text[: self._max_tokens * CHARACTERS]
        if MOST_TOKENS * len(text) <= min(size, self._max_tokens):
            return [text]
        encoding = self._loaded().encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False)
        offsets, words = encoding.offsets, encoding.word_ids
        count = min(len(offsets), self._max_tokens)
        found: list[str] = []
        start = 0
        while start < count:
            end = min(start + size, count)
            cut = _word_start(words, start, end) if end < len(words) else end
            found.append(text[offsets[start][0] : offsets[cut - 1][1]])
            start = cut
        return found or [""]

    def _loaded(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                tokenizer: Any = Tokenizer.from_file(str(weights_path(self._encoder.weights) / "tokenizer.json"))
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._tokenizer = tokenizer
            return self._tokenizer


def _word_start(words: Sequence[int | None], start: int, end: int) -> int:
    """Return the last start of a word up to `end`; `end` if there is none after `start`."""
    cut = end
    while cut > start and words[cut] == words[cut - 1]:
        cut -= 1
    return cut if cut > start else end
