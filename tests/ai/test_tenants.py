"""Three tenants in one store: whatever they do, each one sees what it would see if it were alone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import StorePlugin
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_memory import Memory

TENANTS = ("ada", "bob", "cyd")
WORDS = ("red", "blue", "fox", "dog", "rain", "snow")

tenants = st.sampled_from(TENANTS)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
names = st.sampled_from([f"d{i}" for i in range(6)])
batches = st.lists(st.tuples(names, texts, st.integers(0, 4)), max_size=4, unique_by=lambda row: row[0])
wishes = st.sampled_from(
    [
        None,
        {},
        {"n": {"$gte": 2}},
        {"tenant": "bob"},
        {"tenant": {"$exists": True}},
        {"tenant": {"$in": [*TENANTS]}},
        {"$or": [{"tenant": "ada"}, {"tenant": {"$ne": "ada"}}]},
        {"$not": {"tenant": "cyd"}},
    ]
)


def by_filter(ctx: Any) -> dict[str, Any]:
    return {"tenant": ctx.context["tenant"]}


def by_namespace(ctx: Any) -> str:
    return f"of {ctx.context['tenant']}"


class Tenants(RuleBasedStateMachine):
    """`shared` serves all tenants; each has a twin store of its own, which must answer the same."""

    engine: str
    rule_name: str

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        rules = {"required_filter": by_filter} if self.rule_name == "filter" else {"required_namespace": by_namespace}
        self.shared = self.genkit("shared", **rules)
        self.twins = {tenant: self.genkit(tenant) for tenant in TENANTS}
        self.spans.clear()

    def genkit(self, name: str, **rules: Any) -> Genkit:
        embedder = FakeEmbedder()
        store: StorePlugin
        if self.engine == "faiss":
            store = Faiss(["docs"], path=self.folder / name, embedder=embedder.embedder, name="s", **rules)
        else:
            store = Memory(["docs"], embedder=embedder.embedder, name="s", **rules)
        return Genkit(plugins=[embedder, store])

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def name(self, tenant: str, name: str) -> str:
        """Within one namespace ids are everybody's, so tenants who are told apart by a filter have their own."""
        return f"{tenant}:{name}" if self.rule_name == "filter" else name

    @rule(tenant=tenants, batch=batches)
    def index(self, tenant: str, batch: list[tuple[str, str, int]]) -> None:
        documents = [
            Document(
                f"{text} secret{tenant}",
                {"n": n, "tenant": tenant, "source": f"{tenant}.md"},
                id=self.name(tenant, name),
            )
            for name, text, n in batch
        ]
        self.run(self.shared.index("s/docs", documents, context={"tenant": tenant}))
        self.run(self.twins[tenant].index("s/docs", documents))

    @rule(tenant=tenants, other=tenants, name=names)
    def delete_an_id_of_anybody(self, tenant: str, other: str, name: str) -> None:
        id_ = self.name(other, name)
        deleted = self.run(self.shared.delete("s/docs", ids=[id_], context={"tenant": tenant}))
        assert deleted == self.run(self.twins[tenant].delete("s/docs", ids=[id_]))

    @rule(tenant=tenants, wish=wishes)
    def delete_by_any_filter(self, tenant: str, wish: dict[str, Any] | None) -> None:
        deleted = self.run(self.shared.delete("s/docs", filter=wish or {"n": 4}, context={"tenant": tenant}))
        assert deleted == self.run(self.twins[tenant].delete("s/docs", filter=wish or {"n": 4}))

    @rule(tenant=tenants, other=tenants)
    def delete_a_source_of_anybody(self, tenant: str, other: str) -> None:
        deleted = self.run(self.shared.delete("s/docs", source=f"{other}.md", context={"tenant": tenant}))
        assert deleted == self.run(self.twins[tenant].delete("s/docs", source=f"{other}.md"))

    @rule(
        tenant=tenants,
        query=texts,
        wish=wishes,
        k=st.integers(1, 8),
        mode=st.sampled_from(["vector", "text", "hybrid"]),
        mmr=st.booleans(),
    )
    def retrieve(self, tenant: str, query: str, wish: Any, k: int, mode: str, mmr: bool) -> None:
        options: dict[str, Any] = {"k": k, "filter": wish, "mode": mode}
        if mmr and mode == "vector":
            options["mmr_lambda"] = 0.5
        found = self.run(self.shared.retrieve("s/docs", query, options, context={"tenant": tenant}))
        alone = self.run(self.twins[tenant].retrieve("s/docs", query, options))
        assert {document.metadata["tenant"] for document in found} <= {tenant}
        if self.rule_name == "filter" and mode != "vector":
            # How rare a word is, is a fact of the namespace, and with it the scores and the order of text and hybrid.
            if mode == "text" and k == 8:
                assert {document.id for document in found} == {document.id for document in alone}
            return
        assert [document.id for document in found] == [document.id for document in alone]
        assert [document.score for document in found] == pytest.approx([document.score for document in alone], abs=1e-5)
        assert [document.scores for document in found] == [document.scores for document in alone]

    @rule(tenant=tenants, other=tenants, name=names)
    def write_for_another(self, tenant: str, other: str, name: str) -> None:
        if self.rule_name != "filter" or tenant == other:
            return
        document = Document("stolen", {"tenant": other}, id=self.name(tenant, name))
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            self.run(self.shared.index("s/docs", [document], context={"tenant": tenant}))

    @rule(tenant=tenants, other=tenants)
    def name_the_namespace_of_another(self, tenant: str, other: str) -> None:
        if self.rule_name != "namespace" or tenant == other:
            return
        for call in (
            self.shared.retrieve("s/docs", "red", {"namespace": f"of {other}"}, context={"tenant": tenant}),
            self.shared.delete("s/docs", ids=["d1"], namespace=f"of {other}", context={"tenant": tenant}),
            self.shared.index("s/docs", ["x"], {"namespace": f"of {other}"}, context={"tenant": tenant}),
        ):
            with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
                self.run(call)

    @rule()
    def come_without_a_name(self) -> None:
        for call in (
            self.shared.retrieve("s/docs", "red"),
            self.shared.delete("s/docs", filter={}),
            self.shared.index("s/docs", ["red"]),
        ):
            with pytest.raises(GenkitError, match=f"PERMISSION_DENIED.*required_{self.rule_name}"):
                self.run(call)

    @rule(tenant=tenants, other=tenants, name=names)
    def fetch_anything(self, tenant: str, other: str, name: str) -> None:
        from genkit_rag.plugin_api import ActionContext

        plugin = next(one for one in self.shared.registry.plugins if isinstance(one, StorePlugin))
        handle, ctx = plugin.handle("docs"), ActionContext({"tenant": tenant})
        found = self.run(handle.fetch(ids=[self.name(other, name)], ctx=ctx)) + self.run(handle.fetch(ctx=ctx))
        assert {document.metadata["tenant"] for document in found} <= {tenant}

    @invariant()
    def spans_hold_nothing_of_others(self) -> None:
        for span in self.spans.get_finished_spans():
            text = repr(dict(span.attributes or {})) + repr(span.events)
            assert sum(f"secret{tenant}" in text for tenant in TENANTS) <= 1
        self.spans.clear()

    def teardown(self) -> None:
        if not hasattr(self, "shared"):
            return
        for one in (self.shared, *self.twins.values()):
            self.run(one.close())
        self.loop.close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("engine", ["memory", "faiss"])
@pytest.mark.parametrize("rule_name", ["filter", "namespace"])
def test_nothing_crosses_between_three_tenants(
    engine: str, rule_name: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")  # contents go into spans
    machine = type("Machine", (Tenants,), {"engine": engine, "rule_name": rule_name, "spans": spans})
    run_state_machine_as_test(machine, settings=settings(max_examples=8, stateful_step_count=20, deadline=None))  # type: ignore[no-untyped-call]
