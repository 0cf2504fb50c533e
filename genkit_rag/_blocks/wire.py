"""The base of everything that crosses a wire: camelCase names, absent means absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema


class WireModel(BaseModel):
    """A pydantic model whose JSON is Genkit's: camelCase, and no field that is None."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", defer_build=True)

    def to_wire(self) -> dict[str, Any]:
        """Returns the model as JSON-compatible data in wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def wire_schema(
    wire: type[WireModel], parse: Callable[[Any], Any], to_wire: Callable[[Any], Any], handler: GetCoreSchemaHandler
) -> core_schema.CoreSchema:
    """Returns pydantic's schema of a class that is no model, for speed, but crosses the wire as `wire`."""
    return core_schema.no_info_plain_validator_function(
        parse,
        json_schema_input_schema=handler(wire),
        serialization=core_schema.plain_serializer_function_ser_schema(
            to_wire, return_schema=core_schema.dict_schema()
        ),
    )
