"""Conversion of PostgreSQL's errors to statuses and hints. No message contains a password."""

from __future__ import annotations

from typing import Any

from genkit_rag.plugin_api import GenkitError, Status, invalid
from genkit_rag_pgvector._psycopg import conninfo, errors, psycopg

_RETRY = "Try again."
_BY_STATE: dict[str, tuple[Status, str]] = {
    "57014": ("DEADLINE_EXCEEDED", "Raise `statement_timeout`, or ask for less at once."),
    "55P03": ("ABORTED", "Another session holds a lock for long: look into pg_stat_activity, then try again."),
    "42501": ("PERMISSION_DENIED", "Grant the role usage of the schema and its tables, or connect as their owner."),
    "25006": ("FAILED_PRECONDITION", "Writes go to the primary server: this one is a standby, or is set to read only."),
    "53100": ("RESOURCE_EXHAUSTED", "The server's disk is full: free space there."),
    "53200": ("RESOURCE_EXHAUSTED", "The server is out of memory: lower its work_mem, or give it more."),
    "53300": ("RESOURCE_EXHAUSTED", "Lower `pool_size`, raise the server's max_connections, or use a pooler."),
    "40001": ("ABORTED", _RETRY),
    "40P01": ("ABORTED", _RETRY),
    "58000": ("UNAVAILABLE", "The server cannot use its disk: look into its log."),
    "58030": ("UNAVAILABLE", "The server cannot use its disk: look into its log."),
    "XX001": ("DATA_LOSS", "Restore the table from a backup, or index the documents again into a new store."),
    "XX002": ("DATA_LOSS", "Rebuild the index: REINDEX INDEX."),
}
_BY_CLASS: dict[str, tuple[Status, str]] = {
    "08": ("UNAVAILABLE", _RETRY),
    "28": ("UNAUTHENTICATED", "Check user and password of the `dsn`, and the server's pg_hba.conf."),
    "53": ("RESOURCE_EXHAUSTED", "The server is short of something: look into its log."),
    "57": ("UNAVAILABLE", "The server is shutting down or starting: try again."),
}
# libpq has no error code for a failed connection, only the server's text.
_AT_CONNECTING: tuple[tuple[str, Status, str], ...] = (
    ("authentication failed", "UNAUTHENTICATED", "Check user and password of the `dsn`."),
    ("no password supplied", "UNAUTHENTICATED", "Give the password in the `dsn`, in PGPASSWORD or in ~/.pgpass."),
    ("pg_hba.conf", "PERMISSION_DENIED", "The server's pg_hba.conf does not let this client in."),
    ("too many", "RESOURCE_EXHAUSTED", "Lower `pool_size`, raise the server's max_connections, or use a pooler."),
    ("connection slots", "RESOURCE_EXHAUSTED", "Lower `pool_size`, raise the server's max_connections."),
    ("role", "UNAUTHENTICATED", "Create the role, or name another user in the `dsn`."),
    ("database", "NOT_FOUND", "Create it with `createdb`, or name another database in the `dsn`."),
)


def place(dsn: str) -> str:
    """Return host, port and database of a connection string, without user and password."""
    try:
        known = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its text shows parts of the string
        raise invalid(
            "dsn", "<not shown>", "is no connection string", hint="Write postgresql://user:password@host:5432/database."
        ) from None
    host = known.get("host") or known.get("hostaddr") or "the local socket"
    return f"{host}:{known.get('port') or 5432}/{known.get('dbname') or ''}".rstrip("/")


def connect_error(error: psycopg.Error, where: str) -> GenkitError:
    """Create the error for a failed connection."""
    text = " ".join(str(error).split())
    fatal = text.partition("FATAL:")[2] or text.partition("fe_sendauth:")[2]
    for words, status, hint in _AT_CONNECTING:
        if words in fatal and "starting up" not in fatal and "shutting down" not in fatal:
            return _made(status, f"PostgreSQL at {where} refused the connection: {fatal.strip()}.", hint)
    return _made(
        "UNAVAILABLE",
        f"PostgreSQL at {where} cannot be reached: {text}.",
        "Start the server, or correct host and port of the `dsn` (or DATABASE_URL, PGHOST, PGPORT).",
    )


def pool_exhausted(where: str, size: int, seconds: float) -> GenkitError:
    """Create the error for a pool whose connections are all in use."""
    return _made(
        "RESOURCE_EXHAUSTED",
        f"All {size} connections to PostgreSQL at {where} were busy for {seconds:g} seconds.",
        "Raise `pool_size` or `pool_timeout`, or do less at the same time.",
    )


def server_error(error: psycopg.Error, where: str) -> GenkitError:
    """Convert the error of a failed statement."""
    state = error.sqlstate or ""
    if not state and isinstance(error, errors.OperationalError):
        return _made("UNAVAILABLE", f"The connection to PostgreSQL at {where} was lost: {_words(error)}.", _RETRY)
    status, hint = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or ("INTERNAL", "Please report it.")
    return GenkitError(
        status, f"PostgreSQL at {where} answered: {_words(error)}.", hint=hint, details={"sqlstate": state}, cause=error
    )


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection broke, so that the call may be repeated on a new one."""
    state = error.sqlstate or "08"
    return isinstance(error, errors.OperationalError) and state[:2] in ("08", "57") and state != "57014"


def missing_extension(where: str, problem: str) -> GenkitError:
    """Create the error for a server without pgvector."""
    return _made(
        "FAILED_PRECONDITION",
        f"The database at {where} has no usable extension `vector`: {problem}.",
        "Install pgvector 0.8 or newer on the server, then let the owner of the database run: CREATE EXTENSION vector;",
    )


def _made(status: Status, message: str, hint: str) -> GenkitError:
    return GenkitError(status, message, hint=hint)


def _words(error: psycopg.Error) -> str:
    primary: Any = error.diag.message_primary
    return " ".join(str(primary or error).split()).rstrip(".")[:500]
