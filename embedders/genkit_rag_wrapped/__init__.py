"""Any embedder with a cache, limits, retries, prefixes or shorter vectors around it."""

from genkit_rag.plugin_api import require_extra

with require_extra("wrapped", "filelock"):
    from genkit_rag_wrapped._options import WrappedConfig
    from genkit_rag_wrapped._plugin import Wrapped

__all__ = ["Wrapped", "WrappedConfig"]
