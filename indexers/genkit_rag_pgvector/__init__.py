"""Vector stores in PostgreSQL with pgvector: for what several processes or machines share."""

from genkit_rag_pgvector._options import PgVectorConfig
from genkit_rag_pgvector._plugin import PgVector
from genkit_rag_pgvector._store import PgVectorStore

__all__ = ["PgVector", "PgVectorConfig", "PgVectorStore"]
