"""The expected output of a generation: the config in the request, the instructions and the parsing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from genkit_rag._core import schema
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._generation.formats import (
    BUILT_IN,
    Format,
    Wanted,
    constrains,
    find_format,
    inject_instructions,
    resolve_instructions,
)
from genkit_rag._generation.generate.options import GenerateOptions
from genkit_rag._generation.model import FinishReason, ModelAction, ModelRequest, OutputConfig

MAX_PROBLEMS = 5
"""The maximum number of problems in the feedback to the model."""

MAX_PROBLEM_LENGTH = 160
"""The maximum length of each problem; some quote the value, and a long one would hide the problem."""


class Output:
    """The expected output of one generation.

    Attributes:
        config: The output config in the model's request.
    """

    __slots__ = ("_format", "_instructions", "_wanted", "config")

    def __init__(self, fmt: Format, options: GenerateOptions) -> None:
        wanted = Wanted(options.output_schema, _schema_of(options.output_schema))
        fmt.check_schema(wanted.schema)
        if not isinstance(options.output_instructions, bool | str | None):
            raise invalid("output_instructions", options.output_instructions, "must be text, True, False or None")
        self._format = fmt
        self._wanted = wanted
        self._instructions = options.output_instructions
        self.config = OutputConfig(
            format=fmt.name,
            schema=cast(Any, wanted.schema),
            constrained=options.output_constrained is not False if fmt.constrained else None,
            content_type=options.output_content_type or fmt.content_type,
        )

    def fit(self, model: ModelAction, request: ModelRequest) -> ModelRequest:
        """Fit the request to the model: instructions replace constrained output that the model does not support."""
        output = request.output
        if output is None:
            return request
        if output.constrained and constrains(model, request):
            if self._instructions is None and not self._format.default_instructions:
                return request
        elif output.constrained:
            request = request.model_copy(update={"output": None})
        return inject_instructions(request, resolve_instructions(self._format, output.schema_, self._instructions))

    def parse(self, text: str, finish_reason: FinishReason | None = None) -> Any:
        """Parse a complete answer; the value has the type of `output_schema` if that is a type.

        Raises INVALID_ARGUMENT, with the text in the details, for an answer that is malformed, cut off or invalid.
        """
        try:
            return self._format.parse(text, self._wanted)
        except GenkitError as error:
            found = error
        except ValueError as error:
            problem = f"The answer does not match the format `{self._format.name}`: {error}"
            found = GenkitError("INVALID_ARGUMENT", problem, cause=error)
        found.details["text"] = text
        if finish_reason == "length":
            found.hint = "The answer was cut off: raise `max_output_tokens`."
        raise found

    def parse_chunk(self, text: str, previous: str) -> Any:
        """Parse the answer so far (`text`) with the format; `previous` is the text before the last chunk.

        The result is plain data that is not validated; None while there is no value yet.
        """
        return self._format.parse_chunk(text, previous, self._wanted)


def output_of(registry: Registry, options: GenerateOptions) -> Output | None:
    """Return the expected output of the options; None for free text.

    A schema without a format means `json`; a content type alone means the format with this content type, else `text`.

    Raises INVALID_ARGUMENT for an unknown format, an invalid schema and a schema that the format does not support.
    """
    name, content_type = options.output_format, options.output_content_type
    if name is None and options.output_schema is not None:
        name = "json"
    if name is None and content_type is not None:
        name = next((fmt.name for fmt in BUILT_IN.values() if fmt.content_type == content_type), "text")
    return None if name is None else Output(find_format(registry, name), options)


def validation_feedback(error: GenkitError, output: Output) -> str:
    """Describe the problems of an invalid answer to the model, without repeating the answer."""
    problems = error.details.get("problems") or ()
    lines = [f"- {_short(problem['path'])}: {_short(problem['problem'])}" for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"- and {len(problems) - MAX_PROBLEMS} more")
    said = "\n".join(lines) or f"- {_short(error.message)}"
    return (
        f"Your answer is not what was asked for (format: {output.config.format}):\n{said}\n"
        "Give the whole answer again, corrected, and nothing else."
    )


def _short(text: object) -> str:
    """Shorten a long text in its middle, because the problem is usually at the end."""
    line = " ".join(str(text).split())
    half = MAX_PROBLEM_LENGTH // 2
    return line if len(line) <= MAX_PROBLEM_LENGTH else f"{line[: half - 1]}…{line[-half:]}"


def _schema_of(tp: Any) -> dict[str, Any] | None:
    if tp is None or isinstance(tp, Mapping):
        return schema.json_schema(tp)
    try:
        return _schema_of_type(tp)
    except Exception as error:
        hint = "Pass a pydantic class, another type or a JSON Schema."
        raise invalid("output_schema", tp, f"has no JSON Schema ({error})", hint=hint) from error


@functools.lru_cache(maxsize=256)
def _schema_of_type(tp: Any) -> dict[str, Any] | None:
    return schema.json_schema(tp)
