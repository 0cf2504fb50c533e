"""FAISS stores that survive a crash: SQLite holds the documents, FAISS and tantivy search them.

`Genkit(plugins=[Faiss(["docs"])])` gives `/indexer/faiss/docs` and `/retriever/faiss/docs`.
"""

from genkit_rag.plugin_api import require_extra

with require_extra("faiss", "faiss", "tantivy", "filelock"):
    from genkit_rag_faiss._options import FaissConfig
    from genkit_rag_faiss._plugin import Faiss
    from genkit_rag_faiss._storage.salvage import Salvage
    from genkit_rag_faiss._store import FaissStore
    from genkit_rag_faiss._verify import Report

__all__ = ["Faiss", "FaissConfig", "FaissStore", "Report", "Salvage"]
