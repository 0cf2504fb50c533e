"""The manifest of ingested sources, in SQLite."""
