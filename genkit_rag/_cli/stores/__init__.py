"""Commands on local vector stores: ingest, query, ask, store."""
