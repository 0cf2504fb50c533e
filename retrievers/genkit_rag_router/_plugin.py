"""The plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from genkit_rag.plugin_api import (
    ActionContext,
    Document,
    GenkitError,
    OnError,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverResponse,
    adapt,
    check_choice,
    fuse_rankings,
    invalid,
    must_raise,
    retriever_action,
    run_retriever,
    run_sub_retrievers,
    sub_retriever_options,
)
from genkit_rag_router._choose import ByEmbedding, ByModel, Choice, Choose
from genkit_rag_router._options import RouteConfig

_OWN = frozenset(("routes",))


class RouterOptions(RetrieverOptions):
    """What every retriever understands, and the names of routes to take without choosing."""

    routes: list[str] | None = None


class Router(Plugin):
    """Registers `/retriever/router`: it chooses routes for each query and retrieves from them.

    The notice `ROUTES` lists them with the reason. All options are passed to the routes, with `score_threshold` in the
    unit of each. The result of a single route is returned unchanged; several are fused by reciprocal ranks, with
    `scores` by the route's name.

    Args:
        routes: The routes by name.
        choose: `ByEmbedding(...)`, `ByModel(...)`, or a function of the query that returns names of routes.
        fallback: The route for queries without a matching one; None for all routes.
        on_no_route: `fallback`, with the notice `NO_ROUTE`, or `raise` NOT_FOUND.
        on_error: `raise`, or `degrade`: use the fallback if choosing fails, and leave out a route that fails, with
            notices.
        name: The name of the plugin and of the retriever.
    """

    provides = ("retriever",)
    default_action = ""

    def __init__(
        self,
        routes: Mapping[str, RouteConfig],
        *,
        choose: ByEmbedding | ByModel | Choose,
        fallback: str | None = None,
        on_no_route: Literal["fallback", "raise"] = "fallback",
        on_error: OnError = "raise",
        name: str = "router",
    ) -> None:
        check_choice("on_no_route", on_no_route, ("fallback", "raise"))
        check_choice("on_error", on_error, ("raise", "degrade"))
        self.name = name
        self.routes = dict(routes)
        self.choose = choose
        self.fallback = fallback
        self.on_no_route = on_no_route
        self.on_error: OnError = on_error
        self._check(by_text=isinstance(choose, ByEmbedding | ByModel))
        self._function = None if isinstance(choose, ByEmbedding | ByModel) else adapt(choose)

    def _check(self, *, by_text: bool) -> None:
        if not self.routes:
            raise invalid("routes", self.routes, "must name at least one route")
        for key, route in self.routes.items():
            if not isinstance(route, RouteConfig) or route.retriever == self.name:
                raise invalid(f"routes[{key!r}]", route, "must be a RouteConfig to another retriever")
            if by_text and not route.texts:
                raise invalid(f"routes[{key!r}]", route, "must have a description to be chosen by")
        if self.fallback is not None and self.fallback not in self.routes:
            raise invalid("fallback", self.fallback, f"must be one of {', '.join(self.routes)}")
        if not callable(self.choose) and not isinstance(self.choose, ByEmbedding | ByModel):
            raise invalid("choose", self.choose, "must be a function, ByEmbedding or ByModel")

    async def init(self) -> Sequence[RetrieverAction]:
        """Return the single retriever."""
        return [retriever_action(self.name, self._retrieve, options_type=RouterOptions)]

    async def _retrieve(self, query: Document, options: RouterOptions, ctx: ActionContext) -> RetrieverResponse:
        if options.routes is not None and (unknown := sorted(set(options.routes) - set(self.routes))):
            raise invalid("options.routes", unknown, f"must name routes: {', '.join(self.routes)}")
        if options.k == 0:
            return RetrieverResponse()
        names, notices = await self._names(query, options, ctx)
        told = sub_retriever_options(options, _OWN, options.k)
        asked = {
            name: run_retriever(self.registry, self.routes[name].retriever, query, self.routes[name].told(told))
            for name in names
        }
        found, more = await run_sub_retrievers(asked, self.on_error)
        documents = next(iter(found.values())) if len(found) == 1 else fuse_rankings(found, "rrf")
        return RetrieverResponse(documents, [*notices, *more])

    async def _names(
        self, query: Document, options: RouterOptions, ctx: ActionContext
    ) -> tuple[Sequence[str], list[str]]:
        """Return the chosen routes, and the notices."""
        if options.routes:
            return list(dict.fromkeys(options.routes)), []
        try:
            choice = await self._choice(query, ctx)
        except Exception as error:
            if must_raise(error, self.on_error):
                raise
            return self._fallback(f"CHOICE_FAILED: {error}")
        unknown = [name for name in choice.names if name not in self.routes]
        known = list(dict.fromkeys(name for name in choice.names if name in self.routes))
        problem = f"there is no route {', '.join(map(repr, unknown))}" if unknown else "no route fits"
        if self.on_no_route == "raise" and (unknown or not known):
            raise GenkitError(
                "NOT_FOUND",
                f"The router `{self.name}` has nowhere to go: {problem} ({choice.how}).",
                hint=f"Routes: {', '.join(self.routes)}.",
                details={"routes": list(self.routes)},
            )
        if not known:
            return self._fallback(f"NO_ROUTE: {problem} ({choice.how})")
        notices = [f"ROUTES: {', '.join(known)} ({choice.how})"]
        return known, [f"NO_ROUTE: {problem}; it is left out", *notices] if unknown else notices

    def _fallback(self, why: str) -> tuple[list[str], list[str]]:
        names = list(self.routes) if self.fallback is None else [self.fallback]
        return names, [f"{why}; asked instead: {', '.join(names)}"]

    async def _choice(self, query: Document, ctx: ActionContext) -> Choice:
        if isinstance(self.choose, ByEmbedding | ByModel):
            return await self.choose.choose(self.registry, query, self.routes)
        assert self._function is not None
        raw: Any = await self._function(query, ctx)
        names: list[Any] = [] if raw is None else [raw] if isinstance(raw, str) else list(cast("Sequence[Any]", raw))
        return Choice([str(name) for name in names], "by function")
