"""Resources, background models and the operations that they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genkit_rag._core.registry import Registry
from genkit_rag._generation.background import (
    POLL_SECONDS,
    OperationLike,
    StartAction,
    background_model,
    cancel_operation,
    check_operation,
    wait_for_operation,
)
from genkit_rag._generation.model import ModelInfo
from genkit_rag._generation.operation import Operation
from genkit_rag._generation.resource import ResourceAction, ResourceFn, resource_action


class Operations:
    """The part of `Genkit` for content by URI and for work that takes long."""

    registry: Registry

    # -- resources

    def define_resource(
        self,
        fn: ResourceFn,
        *,
        name: str | None = None,
        uri: str | None = None,
        template: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ResourceAction:
        """Define a resource: content under a URI that messages refer to with `Part(resource=Resource(uri=...))`.

        Args:
            fn: Sync or async; returns text, a part, or a list of them. A parameter with the name of a template variable
                receives its value, converted to the annotated type; `uri` receives the URI, `ctx` the context.
            name: The URI or template by default.
            uri: The URI of a single resource.
            template: A URI template: `docs://{shelf}/{+path}`; `{x}` matches one segment, `{+x}` or `{x*}` the rest.
                Values are percent-decoded: validate them before you use one as a path.
            description: The first line of the docstring by default.
            metadata: Further metadata.

        Raises:
            GenkitError: INVALID_ARGUMENT for none or both of `uri` and `template`, for an ambiguous template, and for a
                parameter without a value.
        """
        return self.registry.register(
            resource_action(fn, name=name, uri=uri, template=template, description=description, metadata=metadata)
        )

    def resource(
        self,
        *,
        name: str | None = None,
        uri: str | None = None,
        template: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Callable[[ResourceFn], ResourceAction]:
        """Decorate a function as a resource. See `define_resource`."""
        return lambda fn: self.define_resource(
            fn, name=name, uri=uri, template=template, description=description, metadata=metadata
        )

    # -- models that take long

    def define_background_model(
        self,
        name: str,
        start: Callable[..., Any],
        check: Callable[..., Any],
        cancel: Callable[..., Any] | None = None,
        *,
        info: ModelInfo | None = None,
    ) -> StartAction:
        """Define a model whose answer takes minutes: `generate` returns at once, with `response.operation`.

        Args:
            name: Its name, for `generate(model=...)`.
            start: `(request)` or `(request, ctx)`, sync or async; gives the `Operation(id=...)` that it has started.
            check: `(operation)` or `(operation, ctx)`; gives the operation as it stands now, with `done` and the
                `ModelResponse` as `output` in the end, or with `error`.
            cancel: The same, after asking the provider to stop; None where that cannot be done.
            info: Label and abilities; `long_running` is added.
        """
        made = background_model(name, start, check, cancel, info=info)
        for action in made.actions:
            self.registry.register(action)
        return made.start

    async def check_operation(self, operation: OperationLike) -> Operation:
        """Return the current state of an operation, given as an object or its JSON.

        Raises:
            GenkitError: INVALID_ARGUMENT for an operation without the name of its model, NOT_FOUND if that background
                model is not registered.
        """
        return await check_operation(self.registry, operation)

    async def cancel_operation(self, operation: OperationLike) -> Operation:
        """Ask the provider to stop an operation and return its state.

        Raises:
            GenkitError: UNIMPLEMENTED where the model cannot cancel; else as `check_operation`.
        """
        return await cancel_operation(self.registry, operation)

    async def wait_for_operation(
        self, operation: OperationLike, *, poll_seconds: float = POLL_SECONDS, timeout: float | None = None
    ) -> Operation:
        """Wait until an operation has ended with `output` or `error`, and return it.

        Args:
            operation: What `generate` has returned as `response.operation`, or its JSON.
            poll_seconds: The time between two checks; 5 by default.
            timeout: After so many seconds it raises DEADLINE_EXCEEDED; the operation goes on. None waits for ever.
        """
        return await wait_for_operation(self.registry, operation, poll_seconds=poll_seconds, timeout=timeout)
