"""FAISS stores that survive a crash: SQLite holds the documents, FAISS and tantivy search them.

`Genkit(plugins=[Faiss(["docs"])])` gives `/indexer/faiss/docs` and `/retriever/faiss/docs`.
"""

from genkit_rag.plugin_api import MissingExtra

try:
    from genkit_rag_faiss._options import FaissConfig
    from genkit_rag_faiss._plugin import Faiss
    from genkit_rag_faiss._salvage import Salvage
    from genkit_rag_faiss._store import FaissStore
    from genkit_rag_faiss._verify import Report
except ModuleNotFoundError as error:
    if error.name not in ("faiss", "tantivy", "filelock"):
        raise
    raise MissingExtra("faiss", "faiss-cpu" if error.name == "faiss" else error.name) from error

__all__ = ["Faiss", "FaissConfig", "FaissStore", "Report", "Salvage"]
