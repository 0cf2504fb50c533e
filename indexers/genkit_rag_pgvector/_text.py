"""Keyword search: BM25 over a tsvector.

PostgreSQL ranks without document frequencies. Its GIN index finds the documents, and the frequency of a word in a
document is derived from `ts_rank`: for a single word with weight 1 that is H(n) / (pi^2 / 6), H(n) the sum of 1/i^2 up
to the number n of its positions (`calc_rank_or` in PostgreSQL's tsrank.c).
"""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag.plugin_api import Filter, Hit
from genkit_rag_pgvector._filter_sql import condition
from genkit_rag_pgvector._layout import Binding, Layout
from genkit_rag_pgvector._psycopg import Connection, Params, Query, raw, sql
from genkit_rag_pgvector._rows import decode, words_of

K1, B = 1.2, 0.75
"""Lucene's defaults (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework")."""
MAX_TERMS = 64
"""How many different words of a query count: the first ones."""


async def search_text(
    connection: Connection,
    layout: Layout,
    binding: Binding,
    query: str,
    k: int,
    filter: Filter | None,
    scope: tuple[str, bool],
) -> list[Hit]:
    """Return the best documents by BM25; `scope` is the namespace and whether documents are requested."""
    namespace, payload = scope
    terms = await _terms(connection, layout, query)
    if not terms:
        return []
    params: Params = {"namespace": namespace, "name": layout.name, "k": k, "any": " | ".join(map(_quoted, terms))}
    params |= {f"t{number}": _quoted(term) for number, term in enumerate(terms)}
    statement = layout.format(
        _BM25,
        table=layout.table(binding.generation),
        where=condition(filter, params),
        often=_each(terms, _OFTEN),
        having=_each(terms, "(count(*) FILTER (WHERE n{i} > 0))::float8 AS d{i}"),
        weights=_each(terms, _WEIGHT),
        norm=raw(_NORM),
        score=_each(terms, _SCORE, " + "),
        columns=sql.SQL("kind, content, metadata" if payload else "0, '', ''"),
    )
    rows = await (await connection.execute(statement, params)).fetchall()
    return [
        Hit(name, score, decode(name, kind, content, metadata) if payload else None)
        for name, score, kind, content, metadata in rows
    ]


async def _terms(connection: Connection, layout: Layout, query: str) -> list[str]:
    text = words_of(query.encode(errors="replace").decode())
    if not text:
        return []
    found = await connection.execute(
        "SELECT lexeme FROM unnest(to_tsvector(%(language)s::regconfig, %(text)s)) "
        "ORDER BY positions[1] LIMIT %(most)s",
        {"language": layout.options.language, "text": text, "most": MAX_TERMS},
    )
    return [row[0] for row in await found.fetchall()]


def _quoted(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def _each(terms: Sequence[str], text: str, between: str = ", ") -> Query:
    parts = [text.replace("{i}", str(number)) for number in range(len(terms))]
    return raw(between.join(parts))


# 6 / pi^2 * H(n) solved for n: the rest of the series is 1 / (n + 1/2) but for a term that rounding takes away.
_OFTEN = (
    "round(1 / greatest(1.6449340668482264 * (1 - ts_rank('{1,1,1,1}', words, %(t{i})s::tsquery)::float8), 1e-5) - 0.5)"
    " AS n{i}"
)
_WEIGHT = "ln(1 + (documents - d{i} + 0.5) / (d{i} + 0.5)) AS w{i}"
_NORM = f"{K1} * ({1 - B} + {B} * length::float8 / average)"
_SCORE = "w{i} * n{i} * " + f"{K1 + 1} / (n{{i}} + norm)"
# Document frequencies count all documents of the namespace, whether they match the filter or not.
# MATERIALIZED: a planner that expects few matches would count them again for each of them. All values are float8:
# numeric takes ten times as long.
_BM25 = """
WITH space AS MATERIALIZED (
    SELECT documents::float8, greatest(words::float8 / greatest(documents, 1), 1) AS average FROM {counts}
    WHERE store = %(name)s AND namespace = %(namespace)s
), matching AS MATERIALIZED (
    SELECT id, {norm} AS norm, {where} AS passes, {often}
    FROM {table}, space WHERE namespace = %(namespace)s AND words @@ %(any)s::tsquery
), weights AS MATERIALIZED (
    SELECT {weights} FROM space, (SELECT {having} FROM matching) AS having_
), best AS (
    SELECT id, {score} AS score FROM matching, weights WHERE passes ORDER BY score DESC, id LIMIT %(k)s
)
SELECT id, score, {columns} FROM best JOIN {table} USING (id) WHERE namespace = %(namespace)s
ORDER BY score DESC, id"""
