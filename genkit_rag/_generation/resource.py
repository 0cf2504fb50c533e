"""Resources: content under a URI, put in place of the parts that name it before a model is called."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from genkit_rag._core import schema
from genkit_rag._core.action import Action, ActionKind, Handler
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.part import Content, Message, Part, to_parts
from genkit_rag._documents.wire import WireModel
from genkit_rag._generation.uri_template import UriTemplate, exact_uri


class ResourceInput(WireModel):
    """The input of a resource action: the URI that is asked for."""

    uri: str


class ResourceOutput(WireModel):
    """The output of a resource action."""

    content: list[Part]


ResourceAction = Action[ResourceInput, ResourceOutput, None]
ResourceFn = Callable[..., Any]
ResourceLike = str | ResourceAction
"""What `resources=` takes: a name, or a resource that `resource_action` or the decorator made."""


def resource_action(
    fn: ResourceFn,
    *,
    name: str | None = None,
    uri: str | None = None,
    template: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ResourceAction:
    """Create a resource action for `generate(resources=[...])`, or to register.

    Args:
        fn: Sync or async; returns text, a part, or a list of them. A parameter with the name of a template variable
            receives its value, converted to the annotated type; `uri` receives the URI, `ctx` (or a parameter annotated
            `ActionContext`) the context.
        name: The URI or template by default.
        uri: The URI of a single resource.
        template: A URI template: `docs://{shelf}/{+path}`; `{x}` matches one segment, `{+x}` or `{x*}` the rest. Values
            are percent-decoded, so a value may contain a slash: validate it before you use it as a path.
        description: The first line of the docstring by default.
        metadata: Further metadata.

    Raises:
        GenkitError: INVALID_ARGUMENT for none or both of `uri` and `template`, for an ambiguous template, and for a
            parameter without a value.
    """
    if (uri is None) == (template is None):
        raise invalid(
            "uri",
            uri,
            "or `template` must be given, and not both",
            hint="Write resource(uri='docs://start') or resource(template='docs://{name}').",
        )
    form = UriTemplate(template) if template is not None else exact_uri(cast(str, uri))
    about = {"uri": uri} if template is None else {"template": template}
    doc = inspect.getdoc(fn)
    return Action(
        ActionKind.RESOURCE,
        name or form.text,
        _run(fn, form, template),
        input_type=ResourceInput,
        output_type=ResourceOutput,
        description=description or (doc.splitlines()[0] if doc else None),
        metadata={**(metadata or {}), "type": "resource", "resource": about},
    )


def _run(fn: ResourceFn, form: UriTemplate, template: str | None) -> Handler[ResourceInput, ResourceOutput]:
    """Create the handler: match the URI, call the function, and record the origin of each part."""
    bind = _binder(fn, form)
    is_async = inspect.iscoroutinefunction(fn)

    async def run(request: ResourceInput, ctx: ActionContext) -> ResourceOutput:
        found = form.match(request.uri)
        if found is None:
            raise invalid("uri", request.uri, f"is not of the form `{form.text}`")
        values = bind(found, request.uri, ctx)
        content: Content = await (fn(**values) if is_async else run_in_thread(fn, **values))
        origin = {"uri": request.uri} if template is None else {"uri": request.uri, "template": template}
        try:
            parts = ResourceOutput(content=to_parts(content)).content
        except (ValidationError, TypeError) as error:
            raise GenkitError(
                "INTERNAL",
                f"The resource `{form.text}` gave {content!r:.100}.",
                hint="Return text, a Part, or a list of them.",
                cause=error,
            ) from error
        return ResourceOutput(content=[_from(part, origin) for part in parts])

    return run


def _binder(fn: ResourceFn, form: UriTemplate) -> Callable[[Mapping[str, str], str, ActionContext], dict[str, Any]]:
    """Create the function that builds the keyword arguments of a call."""
    hints = schema.hints(fn)
    wanted: dict[str, Any] = {}
    for parameter in inspect.signature(fn).parameters.values():
        hint = hints.get(parameter.name)
        if parameter.name == "ctx" or hint is ActionContext:
            wanted[parameter.name] = ActionContext
        elif parameter.name in form.names or parameter.name == "uri":
            wanted[parameter.name] = str if hint is None else hint
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            there = ", ".join([*form.names, "uri", "ctx"])
            raise invalid(
                "fn",
                parameter.name,
                f"has a parameter that `{form.text}` gives no value for",
                hint=f"It may take {there}.",
            )

    def bind(found: Mapping[str, str], uri: str, ctx: ActionContext) -> dict[str, Any]:
        given = {"uri": uri, **found}
        return {
            name: ctx if hint is ActionContext else schema.parse(hint, given[name], f"`{name}` of the URI")
            for name, hint in wanted.items()
        }

    return bind


def _from(part: Part, origin: dict[str, Any]) -> Part:
    """Return the part with its origin; an existing origin is kept and gets the new one as its parent."""
    metadata = dict(part.metadata or {})
    known = metadata.get("resource")
    if isinstance(known, Mapping):
        metadata["resource"] = {"parent": origin, **cast(Mapping[str, Any], known)}
    else:
        metadata["resource"] = origin
    return part.model_copy(update={"metadata": metadata})


async def resolve_resources(
    registry: Registry, messages: list[Message], resources: Sequence[ResourceLike] = ()
) -> list[Message]:
    """Replace parts that refer to a resource by its content; return the same list if there are none.

    The `resources` of the call take precedence over the registry; the first match is used. Each URI is read once, all
    of them concurrently; the first failure cancels the others.

    Raises:
        GenkitError: NOT_FOUND for a URI without a matching resource. Other failures name the resource in
            `error.details['resource']`; INTERNAL if the cause was not a `GenkitError`.
    """
    uris = {part.resource.uri: None for message in messages for part in message.content if part.resource is not None}
    if not uris:
        return messages
    own = [await _to_resource(registry, item) for item in resources]
    found = await _together([_read(registry, own, uri) for uri in uris])
    contents = dict(zip(uris, found, strict=True))
    return [_filled(message, contents) for message in messages]


async def _to_resource(registry: Registry, item: Any) -> ResourceAction:
    if isinstance(item, str):
        return await registry.get(ActionKind.RESOURCE, item.removeprefix("/resource/"))
    if isinstance(item, Action) and cast(ResourceAction, item).kind == ActionKind.RESOURCE:
        return cast(ResourceAction, item)
    raise invalid(
        "resources", item, "takes names and resources", hint="Make one of a function: `resource_action(fn, uri=...)`."
    )


def _filled(message: Message, contents: Mapping[str, list[Part]]) -> Message:
    if all(part.resource is None for part in message.content):
        return message
    content: list[Part] = []
    for part in message.content:
        content += [part] if part.resource is None else contents[part.resource.uri]
    return message.model_copy(update={"content": content})


async def _read(registry: Registry, own: Sequence[ResourceAction], uri: str) -> list[Part]:
    action = await _find(registry, own, uri)
    try:
        return (await action(ResourceInput(uri=uri))).content
    except GenkitError as error:
        error.details.setdefault("resource", action.name)
        raise
    except Exception as error:
        raise GenkitError(
            "INTERNAL",
            f"The resource `{action.name}` failed for {uri!r}: {type(error).__name__}: {error}",
            hint="The exception is the `__cause__` of this error.",
            details={"resource": action.name, "uri": uri},
            cause=error,
        ) from error


async def _find(registry: Registry, own: Sequence[ResourceAction], uri: str) -> ResourceAction:
    """Return the resource that matches the URI: the call's, otherwise a registered one, otherwise a plugin's."""
    for action in [*own, *_registered(registry)]:
        if _matches(action.metadata, uri):
            return action
    listed = [item for item in await registry.list_actions() if item.kind == ActionKind.RESOURCE]
    for item in listed:
        if _matches(item.metadata, uri):
            return await registry.get(ActionKind.RESOURCE, item.name)
    forms = sorted({_form(item.metadata) for item in own} | {_form(item.metadata) for item in listed})
    raise GenkitError(
        "NOT_FOUND",
        f"No resource answers for {uri!r}.",
        hint=f"There is: {', '.join(forms)}." if forms else "Define one: @ai.resource(uri=...).",
        details={"uri": uri, "resources": forms},
    )


def _registered(registry: Registry | None) -> list[ResourceAction]:
    """Return the registered resources, the nearest registry first, without asking plugins, which may be slow."""
    found: list[ResourceAction] = []
    while registry is not None:
        found += registry.registered(ActionKind.RESOURCE)
        registry = registry.parent
    return found


def _form(metadata: Mapping[str, Any] | None) -> str:
    about: Mapping[str, Any] = (metadata or {}).get("resource") or {}
    return str(about.get("template") or about.get("uri") or "")


def _matches(metadata: Mapping[str, Any] | None, uri: str) -> bool:
    """Return whether a listed resource matches the URI; an invalid template matches nothing."""
    try:
        return _template(_form(metadata)).match(uri) is not None
    except GenkitError:
        return False


@functools.lru_cache(maxsize=1024)
def _template(form: str) -> UriTemplate:
    return UriTemplate(form)


async def _together(calls: Sequence[Any]) -> list[Any]:
    """Return the results in order; the first failure, or a cancellation, cancels the others and waits for them."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
