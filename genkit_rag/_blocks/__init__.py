"""The building blocks: documents, embedding, stores, retrieval, reranking, models, generation. Imports the core."""
