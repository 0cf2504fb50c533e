"""How stores are opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from genkit_rag.plugin_api import WireModel, plugin_options


class ChromaConfig(WireModel):
    """How stores are opened.

    Attributes:
        max_neighbors: Links of a vector in Chroma's HNSW graph; for collections that are made from now on.
        ef_construction: How many candidates are looked at when a vector is added; likewise.
        ef_search: How many candidates a search looks at; likewise. More is more exact and slower.
        headers: Sent with every request to a server, such as an authorization.
        tenant: The server's tenant.
        database: The tenant's database.
        timeout: Seconds after which a request to a server is given up.
        lock_timeout: Seconds to wait for another process that writes the same embedded store.
    """

    max_neighbors: int = Field(default=16, ge=2)
    ef_construction: int = Field(default=200, ge=10)
    ef_search: int = Field(default=100, ge=10)
    headers: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    tenant: str = "default_tenant"
    database: str = "default_database"
    timeout: float = Field(default=60.0, gt=0)
    lock_timeout: float = Field(default=30.0, ge=0)

    def changed(self, changes: Mapping[str, Any]) -> ChromaConfig:
        """Return a copy with changed options; INVALID_ARGUMENT lists the valid ones."""
        return plugin_options(ChromaConfig, changes, self)

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration of new collections."""
        hnsw = {
            "max_neighbors": self.max_neighbors,
            "ef_construction": self.ef_construction,
            "ef_search": self.ef_search,
        }
        return {"hnsw": {"space": "cosine", **hnsw}}
