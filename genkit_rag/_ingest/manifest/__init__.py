"""The record of what was ingested, in SQLite."""
