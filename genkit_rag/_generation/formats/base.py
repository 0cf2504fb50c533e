"""The base class of output formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import JsonSchema


@dataclass(frozen=True, slots=True)
class Wanted:
    """The type that the caller expects of the answer.

    Attributes:
        type: The `output_schema`: a type, a JSON Schema, or None.
        schema: The JSON Schema of the type, or None.
    """

    type: Any = None
    schema: JsonSchema | None = None

    def check(self, value: Any) -> Any:
        """Convert plain data to the expected type; raises INVALID_ARGUMENT with the paths of invalid values."""
        try:
            return schema.parse(self.type, value, "The answer")
        except GenkitError as error:
            if "unresolved" in error.details:
                raise invalid("output_schema", self.type, f"cannot check the answer ({error.message})") from error
            raise
        except Exception as error:  # an invalid schema or a failing validator may raise anything
            raise invalid("output_schema", self.type, f"cannot check the answer ({error})") from error


class Format(ABC):
    """The instructions for one kind of output, and the parser of the answer. One object serves all generations.

    Attributes:
        name: The name for `output_format=`.
        content_type: The media type of the answer in the request.
        constrained: Whether to constrain the output of models that support it.
        default_instructions: Whether to send the instructions even with constrained output. Without constrained output
            they are always sent.
    """

    name: str
    content_type: str | None = None
    constrained: bool = False
    default_instructions: bool = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:  # noqa: B027 - most formats accept every schema
        """Raise INVALID_ARGUMENT for a schema that the format does not support."""

    def instructions(self, schema: JsonSchema | None, /) -> str | None:
        """Return the instructions for this format; None for none."""
        return None

    @abstractmethod
    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Parse a complete answer; raises INVALID_ARGUMENT or ValueError for an invalid answer.

        Pass plain data through `wanted.check`, which converts it to the expected type.
        """

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> Any:
        """Parse an incomplete answer to plain data, None for no value; must accept any text.

        Args:
            text: The answer so far, the chunk included.
            previous: The answer before the chunk.
            wanted: The expected type.
        """
        return None
