"""Vector stores in Chroma: embedded in this process, or on a Chroma server.

`Genkit(plugins=[Chroma(["docs"], path="data")])` gives `/indexer/chroma/docs` and `/retriever/chroma/docs`.
"""

from genkit_rag.plugin_api import require_extra

with require_extra("chroma", "chromadb", "tantivy", "filelock"):
    from genkit_rag_chroma._options import ChromaConfig
    from genkit_rag_chroma._plugin import Chroma
    from genkit_rag_chroma._store import ChromaStore

__all__ = ["Chroma", "ChromaConfig", "ChromaStore"]
