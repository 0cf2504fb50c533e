"""Ingestion: load, split, and keep an index in step with its sources. Imports the blocks and the core."""
