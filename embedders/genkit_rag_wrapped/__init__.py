"""Any embedder with a cache, limits, retries, prefixes or shorter vectors around it."""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_wrapped._options import WrappedConfig
    from genkit_rag_wrapped._plugin import Wrapped
except ModuleNotFoundError as error:
    if error.name not in ("tenacity", "filelock"):
        raise
    raise MissingExtra("wrapped", error.name) from error

__all__ = ["Wrapped", "WrappedConfig"]
