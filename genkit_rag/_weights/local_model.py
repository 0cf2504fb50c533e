"""A model of a heavy library: loaded when first used, then used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread

Model = TypeVar("Model")
Out = TypeVar("Out")
P = ParamSpec("P")


class LocalModel(Generic[Model]):
    """A model from a local folder or the model hub. Nothing is imported, read or requested before the first use.

    Calls are serialised, because the fast tokenizers of transformers raise "Already borrowed" otherwise.

    Args:
        source: A folder, or an id of the hub; an existing folder takes precedence.
        load: Loads the model of the source; called once, in a worker thread. After an error it is called again.
    """

    def __init__(self, source: str | Path, load: Callable[[str], Model]) -> None:
        self.source = str(Path(source).expanduser()) if isinstance(source, Path) else source
        self._is_path = isinstance(source, Path) or source.startswith(("/", "./", "../", "~", "\\")) or "\\" in source
        self._load = load
        self._model: Model | None = None
        self._lock = threading.Lock()

    async def run(self, fn: Callable[Concatenate[Model, P], Out], /, *args: P.args, **kwargs: P.kwargs) -> Out:
        """Call `fn` with the model in a worker thread and return its result."""
        return await run_in_thread(self.use, fn, *args, **kwargs)

    def use(self, fn: Callable[Concatenate[Model, P], Out], /, *args: P.args, **kwargs: P.kwargs) -> Out:
        """Call `fn` with the model in this thread, after other callers, and return its result.

        Raises:
            GenkitError: NOT_FOUND for a folder that does not exist or an unknown id; UNAVAILABLE if the hub cannot be
                reached; FAILED_PRECONDITION if the model cannot be loaded.
        """
        with self._lock:
            if self._model is None:
                self._model = self._loaded()
            return fn(self._model, *args, **kwargs)

    def close(self) -> None:
        """Frees the model; the next use loads it again."""
        with self._lock:
            self._model = None

    def _loaded(self) -> Model:
        source = str(Path(self.source).expanduser()) if self._is_path else self.source
        local = Path(source).is_dir()
        if self._is_path and not local:
            raise GenkitError("NOT_FOUND", f"There is no model folder {source}.", hint="Correct the path.")
        try:
            return self._load(source)
        except Exception as error:
            raise _load_error(source, local, error) from error


def _load_error(source: str, local: bool, error: Exception) -> GenkitError:
    if isinstance(error, GenkitError):
        return error
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if local:
        return GenkitError(
            "FAILED_PRECONDITION",
            f"The model in {source} cannot be loaded: {told}",
            hint="Save or copy the folder again.",
        )
    hint = "Check the id and the network, or give the path of a folder that holds the model."
    unknown = any(type(link).__name__ == "RepositoryNotFoundError" for link in _chain(error))
    if unknown:
        return GenkitError("NOT_FOUND", f"The model hub has no `{source}`.", hint=hint)
    return GenkitError("UNAVAILABLE", f"`{source}` did not come from the model hub: {told}", hint=hint)


def _chain(error: BaseException | None) -> list[Any]:
    links: list[Any] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links
