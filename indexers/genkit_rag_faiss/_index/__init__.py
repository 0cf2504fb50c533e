"""Indexes in memory, derived from the database: rows, metadata columns, vector and text indexes."""
