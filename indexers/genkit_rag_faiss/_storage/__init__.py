"""The files of a store: its SQLite database and the formats beside it."""
