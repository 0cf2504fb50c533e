"""How a store is laid out and reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from genkit_rag.plugin_api import GenkitError, invalid

_STORE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", re.ASCII)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PgVectorConfig:
    """How a store is laid out and reached.

    Attributes:
        schema: The schema of the tables; made when it is not there.
        halfvec: Whether the approximate index holds 16-bit floats: half its size, and up to 4,000 dimensions instead of
            2,000. The stored vectors and the scores keep 32 bits. Fixed when the store is made.
        language: The text search configuration of the words: stemming and stop words. Fixed when the store is made.
        index_threshold: From so many documents on there is an approximate index.
        pool_size: The most connections that one event loop opens for a store.
        pool_timeout: Seconds to wait for a free connection.
        connect_timeout: Seconds to wait for the server to take a connection.
        statement_timeout: Seconds that one statement may run; building an index may take longer.
    """

    schema: str = Field(default="genkit_rag", min_length=1)
    halfvec: bool = True
    language: str = Field(default="english", min_length=1)
    index_threshold: int = Field(default=10_000, ge=1)
    pool_size: int = Field(default=8, ge=1)
    pool_timeout: float = Field(default=10.0, gt=0)
    connect_timeout: float = Field(default=5.0, gt=0)
    statement_timeout: float = Field(default=60.0, gt=0)

    def changed(self, changes: Mapping[str, Any]) -> PgVectorConfig:
        """Return a copy with changed options; INVALID_ARGUMENT lists the valid ones."""
        try:
            made = PgVectorConfig(**{**asdict(self), **changes})
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0])
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"The option `{name}` of the store is not valid: {problem['msg']}, got {changes[name]!r}.",
                hint=f"Known options: {', '.join(PgVectorConfig.__dataclass_fields__)}.",
                details={"argument": name},
            ) from error
        if "\0" in made.schema or len(made.schema.encode(errors="replace")) > 63:
            raise invalid("schema", made.schema, "must be a PostgreSQL name: at most 63 bytes, no NUL")
        return made


def check_store_name(name: str) -> str:
    """Return a name that is valid within table names; INVALID_ARGUMENT for others."""
    if not _STORE_NAME.fullmatch(name):
        raise invalid(
            "name",
            name,
            "must be 1 to 32 of A-Z a-z 0-9 . _ - and not begin with a dot or hyphen",
            hint="It becomes a table's name; use a namespace for user-made names.",
        )
    return name
