"""What a format is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import JsonSchema


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller wants the answer to be.

    Attributes:
        type: What was given as `output_schema`: a type, a JSON Schema, or None.
        schema: Its JSON Schema, or None.
    """

    type: Any = None
    schema: JsonSchema | None = None

    def check(self, value: Any) -> Any:
        """Returns plain data as a value of the wanted type; raises INVALID_ARGUMENT with the paths that do not fit."""
        try:
            return schema.parse(self.type, value, "The answer")
        except GenkitError as error:
            if "unresolved" in error.details:
                raise invalid("output_schema", self.type, f"cannot check the answer ({error.message})") from error
            raise
        except Exception as error:  # a schema that is none, a validator that fails: what it raises is anybody's guess
            raise invalid("output_schema", self.type, f"cannot check the answer ({error})") from error


class Format(ABC):
    """How a model is asked for one kind of output, and how its text is read. One object serves all generations.

    Attributes:
        name: What `output_format=` calls it.
        content_type: What the model is told of the answer's media type.
        constrained: Whether a model that can be held to the schema is.
        default_instructions: Whether the instructions go to a model that is held to the schema as well. A model that is
            not held to it gets them in any case.
    """

    name: str
    content_type: str | None = None
    constrained: bool = False
    default_instructions: bool = True

    def check_schema(self, schema: JsonSchema | None, /) -> None:  # noqa: B027 - most formats take every schema
        """Raises INVALID_ARGUMENT for a schema that the format cannot hold."""

    def instructions(self, schema: JsonSchema | None, /) -> str | None:
        """Returns the words that ask a model for this format; None for none."""
        return None

    @abstractmethod
    def parse(self, text: str, wanted: Wanted, /) -> Any:
        """Returns the value of a whole answer; raises INVALID_ARGUMENT or ValueError for one that is no such value.

        Pass plain data through `wanted.check`, which makes the caller's type of it.
        """

    def parse_chunk(self, text: str, previous: str, wanted: Wanted, /) -> Any:
        """Returns what a chunk is worth as plain data, None for nothing; must take any text.

        Args:
            text: The answer so far, the chunk included.
            previous: The answer before the chunk.
            wanted: What the caller wants.
        """
        return None
