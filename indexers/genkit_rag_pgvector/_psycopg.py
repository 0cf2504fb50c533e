"""The one place that imports psycopg, so that a missing extra is said once and well."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from genkit_rag.plugin_api import require_extra

with require_extra("pgvector", "psycopg"):
    import psycopg
    from psycopg import conninfo, errors, sql

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Query: TypeAlias = sql.SQL | sql.Composed
Params: TypeAlias = dict[str, Any]


def raw(text: str) -> sql.SQL:
    """Return SQL written by the plugin; never pass a caller's text."""
    return sql.SQL(cast(Any, text))


__all__ = ["Connection", "Params", "Query", "conninfo", "errors", "psycopg", "raw", "sql"]
