"""Makes a tool of a Python function: its parameters are the schema, its docstring the description."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict, cast, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from genkit_rag._core import schema
from genkit_rag._core.action import Handler
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._generation.tools.tool import Tool, ToolOutput

ToolFn = Callable[..., Any]


class ToolOptions(TypedDict, total=False):
    """The options of `tool_action`, for the decorators that hand them on."""

    name: str | None
    description: str | None
    input_type: Any
    output_type: Any
    metadata: Mapping[str, Any] | None
    multipart: bool | None
    timeout: float | None


def to_tool(fn: ToolFn) -> Tool[Any]:
    """Convert a plain function to a tool; the tool is cached on the function."""
    attributes: dict[str, Any] = getattr(fn, "__dict__", {})
    known = attributes.get(_TOOL)
    # functools.wraps copies attributes: a wrapper is not the function that the tool was made of.
    if known is not None and known.fn is fn:
        return cast(Tool[Any], known)
    made = tool_action(fn)
    if inspect.isfunction(fn):
        attributes[_TOOL] = made
    return made


_TOOL = "__genkit_rag_tool__"


def tool_action(
    fn: ToolFn,
    *,
    name: str | None = None,
    description: str | None = None,
    input_type: Any = None,
    output_type: Any = None,
    metadata: Mapping[str, Any] | None = None,
    multipart: bool | None = None,
    timeout: float | None = None,
) -> Tool[Any]:
    """Create a tool action from a function; `await action(input)` runs it.

    The parameters become the fields of one object: types, defaults, `Annotated[..., Field(description=...)]` and the
    docstring's `Args:` section go into the schema. A single parameter that is a pydantic model, dataclass or TypedDict
    is the input itself. A parameter named `ctx` or annotated `ActionContext` receives the context. Sync functions run
    in a worker thread.

    Args:
        fn: Sync or async; its parameters need names, so `*args` and `**kwargs` are INVALID_ARGUMENT.
        name: The function's name by default.
        description: The docstring's first paragraph by default.
        input_type: A type or JSON Schema of the whole input, for functions of one parameter.
        output_type: A type or JSON Schema; the return annotation by default.
        metadata: Further metadata.
        multipart: Whether it returns a `ToolOutput` with parts; by the return annotation when None.
        timeout: Seconds that one run may take in a generation, then DEADLINE_EXCEEDED; none by default.
    """
    signature = _Signature(fn)
    name = name or signature.name
    if not name or "<" in name:
        raise invalid("name", name, "is no name for a tool", hint="Pass `name=`.")
    doc = inspect.getdoc(fn) or ""
    if input_type is None:
        input_type, handler = _from_signature(signature, name, doc)
    elif len(signature.data) > 1:
        raise invalid("input_type", input_type, "needs a function of one parameter", hint="Or leave it out.")
    else:
        handler = _whole(signature, input_type)
    if multipart is None:
        multipart = signature.hints.get("return") is ToolOutput
    if output_type is None and not multipart:
        output_type = _output_type(signature)
    return Tool(
        fn,
        name,
        handler,
        input_type=input_type,
        output_type=output_type,
        multipart=multipart,
        timeout=timeout,
        description=description if description is not None else _summary(doc),
        metadata=metadata,
    )


class _Signature:
    """The parameters of a function without the context."""

    def __init__(self, fn: ToolFn) -> None:
        plain = fn.func if isinstance(fn, functools.partial) else fn
        self.name: str = getattr(plain, "__name__", "")
        hinted = plain if inspect.isroutine(plain) else type(plain).__call__
        try:
            self.hints = get_type_hints(hinted, include_extras=True)
        except (NameError, TypeError) as error:
            hint = "Import the type at the top of the module, outside of `if TYPE_CHECKING`."
            problem = f"has an annotation that does not resolve ({error})"
            raise invalid("tool", self.name, problem, hint=hint) from error
        self.parameters = list(inspect.signature(fn).parameters.values())
        for parameter in self.parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise invalid(
                    "tool",
                    self.name,
                    f"takes `{parameter}`, and a model needs names",
                    hint="Give every parameter a name and a type.",
                )
        self.data = [p for p in self.parameters if not self._is_context(p)]
        plan = [(None if self._is_context(p) else p.name, p.name, p.kind is p.KEYWORD_ONLY) for p in self.parameters]
        self._positional = [key for key, _, keyword_only in plan if not keyword_only]
        self._keywords = [(name, key) for key, name, keyword_only in plan if keyword_only]
        is_async = inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(hinted)
        self.call: Callable[..., Any] = fn if is_async else functools.partial(run_in_thread, fn)

    def _is_context(self, parameter: inspect.Parameter) -> bool:
        return parameter.name == "ctx" or self.hints.get(parameter.name) is ActionContext

    def bind(self, ctx: ActionContext, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call."""
        args = [ctx if key is None else values[key] for key in self._positional]
        return args, {name: ctx if key is None else values[key] for name, key in self._keywords}


def _from_signature(signature: _Signature, name: str, doc: str) -> tuple[Any, Handler[Any, Any]]:
    """Return the input type that a signature implies, and the handler."""
    if len(signature.data) == 1:
        annotation = signature.hints.get(signature.data[0].name)
        if _is_object_type(annotation):
            return annotation, _whole(signature, annotation)
    model, fields = _input_model(signature, name, doc)
    return model, _spread(signature, model, fields, name)


def _is_object_type(annotation: Any) -> bool:
    plain = annotation.__origin__ if get_origin(annotation) is Annotated else annotation
    if not isinstance(plain, type):
        return False
    # typing and typing_extensions have a TypedDict each, and neither knows the other's.
    typed_dict = issubclass(plain, dict) and hasattr(plain, "__required_keys__")
    return typed_dict or issubclass(plain, BaseModel) or dataclasses.is_dataclass(plain)


def _whole(signature: _Signature, input_type: Any) -> Handler[Any, Any]:
    """Create a handler that passes the input as a single argument."""
    names = [parameter.name for parameter in signature.data]
    try:
        schema.json_schema(input_type)
    except PydanticUserError as error:
        raise _no_json_form(signature.name, error) from error

    async def run(value: Any, ctx: ActionContext) -> Any:
        if isinstance(value, Mapping):
            value = schema.parse(input_type, value, f"The input of the tool `{signature.name}`")
        args, kwargs = signature.bind(ctx, dict.fromkeys(names, value))
        return await signature.call(*args, **kwargs)

    return run


def _spread(signature: _Signature, model: type[BaseModel], fields: Mapping[str, str], name: str) -> Handler[Any, Any]:
    """Create a handler that passes the fields of the input as arguments."""

    async def run(value: Any, ctx: ActionContext) -> Any:
        if type(value) is not model:
            value = schema.parse(model, {} if value is None else value, f"The input of the tool `{name}`")
        values = value.__dict__
        args, kwargs = signature.bind(ctx, {key: values[field] for key, field in fields.items()})
        return await signature.call(*args, **kwargs)

    return run


def _input_model(signature: _Signature, name: str, doc: str) -> tuple[type[BaseModel], dict[str, str]]:
    """Return the object type of the parameters, and its field for each parameter.

    The fields are numbered and the parameters are their aliases: a parameter may be called `schema` or `_x`, a field
    of a pydantic model may not.
    """
    described = _described_arguments(doc)
    fields = {parameter.name: f"p{number}" for number, parameter in enumerate(signature.data)}
    aliases = {field: parameter for parameter, field in fields.items()}
    definitions: dict[str, Any] = {}
    for parameter in signature.data:
        annotation: Any = signature.hints.get(parameter.name, Any)
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        text = described.get(parameter.name)
        own = (
            default.description if isinstance(default, FieldInfo) else FieldInfo.from_annotation(annotation).description
        )
        if text and not own:
            annotation = Annotated[annotation, Field(description=text)]
        definitions[fields[parameter.name]] = (annotation, default)
    config = ConfigDict(
        alias_generator=lambda field: aliases[field],
        extra="forbid",
        json_schema_extra=_without_titles,
    )
    try:
        model = create_model(f"{name.replace('/', '_')}_input", __config__=config, **definitions)
        schema.json_schema(model)
        return model, fields
    except PydanticUserError as error:
        raise _no_json_form(name, error) from error


def _no_json_form(name: str, error: PydanticUserError) -> GenkitError:
    hint = "Annotate it with a type that pydantic knows, or bind it with functools.partial."
    return invalid("tool", name, f"has a parameter without a JSON form ({str(error).splitlines()[0]})", hint=hint)


def _without_titles(found: dict[str, Any]) -> None:
    """Remove generated titles: they repeat the names and cost tokens."""
    found.pop("title", None)
    for field in found.get("properties", {}).values():
        field.pop("title", None)


def _output_type(signature: _Signature) -> Any:
    """Return the return annotation if it has a JSON form."""
    annotation = signature.hints.get("return")
    if annotation is None or annotation is Any or annotation is type(None):
        return None
    try:
        schema.adapter(annotation).json_schema(mode="serialization")
    except Exception:  # a class that pydantic does not know: the model is told nothing of the output
        return None
    return annotation


def _summary(doc: str) -> str:
    """Return the first paragraph as one line."""
    return " ".join(doc.split("\n\n", 1)[0].split())


_SECTION = re.compile(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+.*\n?|[ \t]*\n)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)[ \t]*(?:\([^)\n]*\))?:[ \t]*(.*)$")


def _described_arguments(doc: str) -> dict[str, str]:
    """Return the descriptions of a Google-style `Args:` section by parameter."""
    section = _SECTION.search(doc)
    if section is None:
        return {}
    found: dict[str, list[str]] = {}
    lines = inspect.cleandoc("\n" + section[1]).splitlines()
    name = ""
    for line in lines:
        match = _ARGUMENT.match(line)
        if match:
            name = match[1]
            found[name] = [match[2]]
        elif name and line.startswith((" ", "\t")):
            found[name].append(line.strip())
    return {key: " ".join(part for part in parts if part) for key, parts in found.items()}
