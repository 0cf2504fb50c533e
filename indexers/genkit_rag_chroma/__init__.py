"""Vector stores in Chroma: embedded in this process, or on a Chroma server.

`Genkit(plugins=[Chroma(["docs"], path="data")])` gives `/indexer/chroma/docs` and `/retriever/chroma/docs`.
"""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_chroma._options import ChromaConfig
    from genkit_rag_chroma._plugin import Chroma
    from genkit_rag_chroma._store import ChromaStore
except ModuleNotFoundError as error:
    if error.name not in ("chromadb", "tantivy", "filelock"):
        raise
    raise MissingExtra("chroma", error.name) from error

__all__ = ["Chroma", "ChromaConfig", "ChromaStore"]
