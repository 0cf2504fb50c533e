"""The base of everything that crosses a wire: camelCase names, absent means absent, a null that is data stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class WireModel(BaseModel):
    """A pydantic model with Genkit's JSON: camelCase names, None fields left out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", defer_build=True)

    def to_wire(self) -> dict[str, Any]:
        """Convert the model to JSON-compatible data with wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class DataWireModel(WireModel):
    """A wire model with fields for any JSON (a tool's output, unknown names), which keep an explicit null.

    Settings (`config`, `options`, schemas) are not such data: null and absent settings are the same, and are left out.
    """

    nulls: ClassVar[tuple[str, ...]] = ()
    """The names of these fields: single words, which are the same on the wire."""

    @model_serializer(mode="wrap")
    def _keep_nulls(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        wire = handler(self)
        if info.exclude_none:
            for name in self.nulls:
                if name in self.__pydantic_fields_set__ and self.__dict__[name] is None:
                    wire[name] = None
            wire |= {name: None for name, value in (self.__pydantic_extra__ or {}).items() if value is None}
        return wire

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        fields: Any = {key: value for key, value in schema.items() if key != "serialization"}
        return handler(fields)


def wire_schema(
    wire: type[WireModel], parse: Callable[[Any], Any], to_wire: Callable[[Any], Any], handler: GetCoreSchemaHandler
) -> core_schema.CoreSchema:
    """Return the pydantic schema of a plain class (for speed) that is transferred as the model `wire`."""
    return core_schema.no_info_plain_validator_function(
        parse,
        json_schema_input_schema=handler(wire),
        serialization=core_schema.plain_serializer_function_ser_schema(
            to_wire, return_schema=core_schema.dict_schema()
        ),
    )
