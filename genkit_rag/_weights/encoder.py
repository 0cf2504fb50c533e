"""Runs a BERT-like encoder in ONNX: texts in, one vector a text or one vector a token out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from genkit_rag._core.errors import require_extra
from genkit_rag._weights.cache import weights_path
from genkit_rag._weights.manifest import weights_named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"

RUN_TOKENS = 384
"""Padded tokens in one run of the model. Measured on two cores with texts of 16, 93 and 256 tokens: 256 to 512 is the
best for all three, and 32 texts of 93 tokens at a time, which leave the caches, take a third longer."""

MAX_CHARACTERS = 50_000
"""Of longer texts only the beginning is looked at: 200 characters for each of 256 tokens. It saves seconds."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The engine's objects; both may be used by several threads at once."""

    session: Any
    tokenizer: Any


class TextEncoder:
    """A local text encoder, by the name of its weights; loaded thread-safely at the first use.

    The methods block: call them through `run_in_thread`. The vector of a text does not depend on other texts in the
    batch.

    Args:
        weights: A name of `genkit-rag models list` with a `model.onnx` and a `tokenizer.json`.
        max_tokens: The token limit with the two special tokens; the rest is cut off.
        threads: CPU threads of one run.
    """

    def __init__(self, weights: str, *, max_tokens: int = 256, threads: int = 2) -> None:
        self.weights = weights
        self.max_tokens = max_tokens
        self.threads = threads
        self._loaded: _Loaded | None = None
        self._lock = threading.Lock()

    @property
    def revision(self) -> str:
        """The sha256 of the model file, as pinned."""
        return weights_named(self.weights).file(MODEL).sha256

    def load(self) -> None:
        """Load model and tokenizer; FAILED_PRECONDITION with the command to run if they are not installed."""
        self._get()

    def close(self) -> None:
        """Frees the model; the next use loads it again."""
        with self._lock:
            self._loaded = None

    def count_tokens(self, text: str) -> int:
        """Count the tokens of the whole text, with the two special tokens."""
        return len(self._get().tokenizer.encode(_encodable(text)).ids)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts by mean pooling: unit vectors, float32, shape `(len(texts), dimensions)`."""
        import numpy as np

        found: list[Any] = [None] * len(texts)
        for rows, hidden, mask in self._runs(texts):
            weights = mask[:, :, None].astype(np.float32)
            means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
            for row, mean in zip(rows, _unit(means), strict=True):
                found[row] = mean
        return np.stack(found) if found else np.zeros((0, 0), dtype=np.float32)

    def embed_tokens(self, texts: Sequence[str]) -> list[Vectors]:
        """Return the unit vectors of each text's tokens without the special tokens: shapes `(tokens, d)`."""
        found: list[Any] = [None] * len(texts)
        for rows, hidden, mask in self._runs(texts):
            for row, vectors, length in zip(rows, hidden, mask.sum(axis=1), strict=True):
                found[row] = _unit(vectors[1 : length - 1])
        return cast("list[Vectors]", found)

    def _runs(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any, Any]]:
        """Yield `(rows, hidden states, mask)` for groups of texts of similar length, to limit padding."""
        import numpy as np

        engine = self._get()
        encoded = engine.tokenizer.encode_batch([_encodable(text[:MAX_CHARACTERS]) for text in texts])
        ids = [self._cut(item.ids) for item in encoded]
        for rows in _groups([len(item) for item in ids]):
            width = len(ids[rows[-1]])
            tokens = np.zeros((len(rows), width), dtype=np.int64)
            mask = np.zeros_like(tokens)
            for line, row in enumerate(rows):
                tokens[line, : len(ids[row])] = ids[row]
                mask[line, : len(ids[row])] = 1
            feed = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
            yield rows, engine.session.run(None, feed)[0], mask

    def _cut(self, ids: list[int]) -> list[int]:
        """Cut to `max_tokens`, keeping the closing special token."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _get(self) -> _Loaded:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = _load(weights_path(self.weights), self.threads)
        return self._loaded


def _load(folder: Path, threads: int) -> _Loaded:
    require_extra("minilm", "onnxruntime", "tokenizers")
    import onnxruntime
    from tokenizers import Tokenizer

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin win a tenth on an idle machine and lose half on a busy one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: Any = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
    tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_truncation()  # the file's own limit is another; `_cut` keeps ours, and counts must be of the whole
    tokenizer.no_padding()
    return _Loaded(session, tokenizer)


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield rows, shortest first, in groups of at most RUN_TOKENS after padding (at least one row)."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[row] > RUN_TOKENS:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _encodable(text: str) -> str:
    """Replace lone surrogates, which the tokenizer does not accept."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _unit(vectors: Any) -> Any:
    import numpy as np

    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
