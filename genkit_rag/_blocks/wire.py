"""The base of everything that crosses a wire: camelCase names, absent means absent."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """A pydantic model whose JSON is Genkit's: camelCase, and no field that is None."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", defer_build=True)

    def to_wire(self) -> dict[str, Any]:
        """Returns the model as JSON-compatible data in wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
