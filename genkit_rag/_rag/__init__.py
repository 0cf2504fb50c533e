"""Embedders, vector stores, retrievers and rerankers, and the actions derived from them."""
