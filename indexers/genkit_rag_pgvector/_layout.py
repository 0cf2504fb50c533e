"""The tables: their names, their creation, and the records about a store.

`<schema>.genkit_rag_stores` has a row for each store, `genkit_rag_counts` one for each of its namespaces (maintained by
triggers), and `genkit_rag_<store>_<generation>` has the documents. A re-embedding creates the next generation and drops
the last one: a statement uses one generation, so it never mixes vectors of two models.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from genkit_rag.plugin_api import Fingerprint, GenkitError
from genkit_rag_pgvector._errors import missing_extension
from genkit_rag_pgvector._options import PgVectorConfig
from genkit_rag_pgvector._psycopg import Connection, Params, Query, errors, psycopg, raw, sql
from genkit_rag_pgvector._tables import COUNT, COUNTS, EVENTS, FACTS, STORAGE, STORES, TABLE, WORDS

FORMAT = 1
"""The version of the table layout; a newer one raises FAILED_PRECONDITION."""
OLDEST_PGVECTOR = (0, 8)
"""The first version whose index scans go on until a filter has its k hits."""
_MAX_DIMENSIONS = {True: 4000, False: 2000}
_ADVISORY = 0x67_6B_72  # "gkr": the class of our advisory locks


@dataclass(frozen=True, slots=True)
class Binding:
    """The record of a store that is bound to an embedding model.

    Attributes:
        generation: The active generation of its tables.
        fingerprint: The embedding model of its vectors.
    """

    generation: int
    fingerprint: Fingerprint


class Layout:
    """Names and statements of one store; `open` must have run before anything else.

    Args:
        name: The store's name.
        options: Schema, kind of index, language.
        where: The server, for errors.
    """

    def __init__(self, name: str, options: PgVectorConfig, where: str) -> None:
        self.name, self.options, self.where = name, options, where
        self.extension = "public"

    # Names.

    @property
    def stores(self) -> sql.Identifier:
        """The table of the stores."""
        return sql.Identifier(self.options.schema, "genkit_rag_stores")

    @property
    def counts(self) -> sql.Identifier:
        """The table of the namespaces: how many documents and words."""
        return sql.Identifier(self.options.schema, "genkit_rag_counts")

    def table_name(self, generation: int) -> str:
        """Return the name of the table of a generation, without the schema."""
        return f"genkit_rag_{self.name}_{generation}"

    def table(self, generation: int) -> sql.Identifier:
        """Return the table of a generation."""
        return sql.Identifier(self.options.schema, self.table_name(generation))

    def index(self, generation: int, kind: str) -> sql.Identifier:
        """Return an index of a generation's table, with the schema."""
        return sql.Identifier(self.options.schema, f"{self.table_name(generation)}_{kind}")

    def of_extension(self, name: str) -> sql.Identifier:
        """Return a type or function of pgvector with its schema."""
        return sql.Identifier(self.extension, name)

    def product(self) -> sql.Composed:
        """Return the operator of the negative inner product, the fastest one: the negative cosine of unit vectors."""
        return sql.SQL("OPERATOR({}.<#>)").format(sql.Identifier(self.extension))

    def indexed(self, dimensions: int, value: Query) -> sql.Composed:
        """Return the expression for a vector as the approximate index stores it."""
        kind = self.of_extension("halfvec" if self.options.halfvec else "vector")
        return sql.SQL("({}::{}({}))").format(value, kind, dimensions)

    def can_index(self, dimensions: int) -> bool:
        """Return whether pgvector can index vectors of this length."""
        return dimensions <= _MAX_DIMENSIONS[self.options.halfvec]

    def format(self, text: str, **parts: Any) -> sql.Composed:
        """Fill the names into a statement; `{stores}` and `{counts}` are known."""
        return raw(text).format(stores=self.stores, counts=self.counts, **parts)

    # Opening.

    async def open(self, connection: Connection) -> None:
        """Create what is missing, safely with several processes, and check the rest.

        On a standby, or for a role that may only read, nothing is written when nothing is missing.
        """
        if not await self._found(connection):
            await connection.execute("SELECT pg_advisory_xact_lock(%(class)s, 0)", {"class": _ADVISORY})
            await self._create_extension(connection)
            await self._create(connection)
        await self._check_extension(connection)
        await self._check_store(connection)

    async def names(self, connection: Connection) -> list[str]:
        """Return the names of all stores of the schema, sorted; creates nothing."""
        if not await self._has_table(connection):
            return []
        found = await connection.execute(self.format("SELECT name FROM {stores} ORDER BY name"))
        return [str(row[0]) for row in await found.fetchall()]

    async def _has_table(self, connection: Connection) -> bool:
        name = self.stores.as_string(connection)
        row = await one(connection, "SELECT to_regclass(%(name)s) IS NOT NULL", {"name": name})
        return bool(row[0])

    async def _found(self, connection: Connection) -> bool:
        if not await self._has_table(connection):
            return False
        found = await connection.execute(
            self.format("SELECT 1 FROM {stores} WHERE name = %(name)s"), {"name": self.name}
        )
        return await found.fetchone() is not None

    async def _create_extension(self, connection: Connection) -> None:
        try:
            async with connection.transaction():
                await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedFile) as error:
            raise missing_extension(self.where, str(error.diag.message_primary)) from error

    async def _check_extension(self, connection: Connection) -> None:
        found = await connection.execute(
            "SELECT extversion, nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
            "WHERE extname = 'vector'"
        )
        row = await found.fetchone()
        if row is None:
            raise missing_extension(self.where, "it is not there")
        version, self.extension = row
        if tuple(int(part) for part in str(version).split(".")[:2]) < OLDEST_PGVECTOR:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The extension `vector` at {self.where} is {version}: its filtered searches would miss documents.",
                hint="Install pgvector 0.8 or newer, then run: ALTER EXTENSION vector UPDATE;",
            )

    async def _create(self, connection: Connection) -> None:
        schema = sql.Identifier(self.options.schema)
        known = await connection.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = %(name)s", {"name": self.options.schema}
        )
        if await known.fetchone() is None:
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        for statement in (STORES, COUNTS, COUNT):
            await connection.execute(self.format(statement, count=self._count, schema=schema))
        await self._check_language(connection)
        await connection.execute(
            self.format(
                "INSERT INTO {stores} (name, format, halfvec, language) "
                "VALUES (%(name)s, %(format)s, %(halfvec)s, %(language)s) ON CONFLICT DO NOTHING"
            ),
            {"name": self.name, "format": FORMAT, "halfvec": self.options.halfvec, "language": self.options.language},
        )

    async def _check_language(self, connection: Connection) -> None:
        found = await connection.execute("SELECT cfgname FROM pg_ts_config ORDER BY 1")
        names = [row[0] for row in await found.fetchall()]
        if self.options.language not in names:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"The server has no text search configuration {self.options.language!r}.",
                hint=f"`language` is one of {', '.join(names)}.",
                details={"argument": "language"},
            )

    async def _check_store(self, connection: Connection) -> None:
        row = await one(
            connection,
            self.format("SELECT format, halfvec, language FROM {stores} WHERE name = %(name)s"),
            {"name": self.name},
        )
        if row[0] > FORMAT:
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The store `{self.name}` has the format {row[0]}; this version knows {FORMAT}.",
                hint="Update genkit-rag.",
            )
        wanted = {"halfvec": self.options.halfvec, "language": self.options.language}
        for (option, asked), there in zip(wanted.items(), row[1:], strict=True):
            if asked != there:
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"The store `{self.name}` was made with {option}={there!r}; this is {option}={asked!r}.",
                    hint=f"Open it with {option}={there!r}, or index the documents again into a new store.",
                    details={"argument": option},
                )

    # The embedder.

    async def binding(self, connection: Connection, lock: str = "") -> Binding | None:
        """Return the binding of the store.

        Args:
            connection: In a transaction.
            lock: `FOR SHARE` blocks a re-embedding until the end of the transaction, `FOR UPDATE` other calls too.
        """
        statement = self.format(
            "SELECT generation, fingerprint FROM {stores} WHERE name = %(name)s {lock}",
            lock=raw(lock),
        )
        row = await (await connection.execute(statement, {"name": self.name})).fetchone()
        if row is None:
            raise GenkitError(
                "NOT_FOUND",
                f"The store `{self.name}` at {self.where} was removed.",
                hint="Open it anew: that makes an empty one.",
            )
        return None if row[1] is None else Binding(row[0], fingerprint_of(row[1]))

    async def bind(self, connection: Connection, fingerprint: Fingerprint) -> Binding:
        """Bind the store to the embedding model if it has none, and return its binding."""
        found = await self.binding(connection)
        if found is None:
            found = await self.binding(connection, "FOR UPDATE")
        if found is None:
            found = Binding(1, fingerprint)
            await self.create_table(connection, 1, fingerprint.dimensions)
            await self.set_binding(connection, found)
        return found

    async def set_binding(self, connection: Connection, binding: Binding) -> None:
        """Record the active generation and its embedding model, with no re-embedding running."""
        await connection.execute(
            self.format(
                "UPDATE {stores} SET generation = %(generation)s, fingerprint = %(fingerprint)s::jsonb, "
                "next = NULL WHERE name = %(name)s"
            ),
            {"name": self.name, "generation": binding.generation, "fingerprint": to_text(binding.fingerprint)},
        )

    async def create_table(self, connection: Connection, generation: int, dimensions: int) -> None:
        """Create the table of a generation; its documents are counted once it is `counted`."""
        parts = {
            "table": self.table(generation),
            "vector": self.of_extension("vector"),
            "dimensions": raw(str(dimensions)),
            "words": sql.Identifier(f"{self.table_name(generation)}_words"),
            "facts": sql.Identifier(f"{self.table_name(generation)}_facts"),
        }
        for statement in (TABLE, STORAGE, WORDS, FACTS):
            await connection.execute(self.format(statement, **parts))
        if generation == 1:
            await self.counted(connection, generation)

    async def counted(self, connection: Connection, generation: int) -> None:
        """Lets triggers count the documents of a generation from now on."""
        parts = {"table": self.table(generation), "count": self._count, "name": sql.Literal(self.name)}
        for event, rows in EVENTS.items():
            parts |= {"trigger": sql.Identifier(f"count_{event.lower()}")}
            text = f"CREATE TRIGGER {{trigger}} AFTER {event} ON {{table}} {rows}"
            text += " FOR EACH STATEMENT EXECUTE FUNCTION {count}({name})"
            await connection.execute(self.format(text, **parts))

    @property
    def _count(self) -> sql.Identifier:
        return sql.Identifier(self.options.schema, "genkit_rag_count")


def fingerprint_of(stored: dict[str, Any]) -> Fingerprint:
    """Parse a stored fingerprint."""
    query, document = stored["prefixes"]
    known: dict[str, Any] = {**stored, "prefixes": (query, document)}
    return Fingerprint(**known)


def to_text(fingerprint: Fingerprint) -> str:
    """Serialise a fingerprint as JSON."""
    return json.dumps(asdict(fingerprint))


async def one(connection: Connection, query: Any, params: Params | None = None) -> tuple[Any, ...]:
    """Return the row of a statement that always returns one."""
    row = await (await connection.execute(query, params)).fetchone()
    assert row is not None
    return row


def is_gone(error: psycopg.Error) -> bool:
    """Return whether a statement used a generation that was dropped in the meantime."""
    return isinstance(error, errors.UndefinedTable) or "could not open relation" in str(error)
