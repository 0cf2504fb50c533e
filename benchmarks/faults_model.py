"""What the fault sweeps write to a store, what must be there after each step, and every question that shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genkit_rag.plugin_api import Document, Fingerprint, GenkitError, parse_filter
from genkit_rag_faiss import FaissStore

NAMESPACES = ("", "other", "façade/../x")
FINGERPRINTS = (Fingerprint("faults", "old", 16), Fingerprint("faults", "new", 24))
STRANGE = ("d7", 99)

Key = tuple[str, str]
"""A namespace and an id."""


@dataclass(frozen=True)
class State:
    """What a store holds: the version of each document, and whose vectors they are."""

    versions: dict[Key, int]
    embedder: int = 0

    def of(self, namespace: str) -> dict[str, int]:
        return {name: version for (space, name), version in self.versions.items() if space == namespace}


def document(namespace: str, name: str, version: int) -> Document:
    text = f"text common {name} version{version} space{NAMESPACES.index(namespace)}"
    return Document(text, {"version": version, "name": name, "space": namespace, "old": version < 5}, id=name)


def vectors(namespace: str, versions: Sequence[tuple[str, int]], embedder: int) -> Any:
    """Returns the vector of each document: the same in every process."""
    space, width = NAMESPACES.index(namespace), FINGERPRINTS[embedder].dimensions
    rows = [
        np.random.default_rng([int(name[1:]), version, space, embedder]).standard_normal(width)
        for name, version in versions
    ]
    raw = np.array(rows, np.float32).reshape(-1, width)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


# The workload: each step is acknowledged when it returns, and changes the state as a whole or not at all.


@dataclass(frozen=True)
class Upsert:
    namespace: str
    first: int
    count: int

    def after(self, state: State, number: int) -> State:
        return replace(state, versions=state.versions | {(self.namespace, name): number for name in self.names})

    @property
    def names(self) -> list[str]:
        return [f"d{i}" for i in range(self.first, self.first + self.count)]

    async def run(self, store: FaissStore, state: State, number: int) -> None:
        pairs = [(name, number) for name in self.names]
        await store.upsert(
            [document(self.namespace, *pair) for pair in pairs],
            vectors(self.namespace, pairs, state.embedder),
            namespace=self.namespace,
        )


@dataclass(frozen=True)
class Delete:
    namespace: str
    ids: tuple[str, ...] = ()
    version: int = 0

    def after(self, state: State, number: int) -> State:
        def stays(key: Key, version: int) -> bool:
            return key[0] != self.namespace or not (key[1] in self.ids or version == self.version)

        return replace(state, versions={key: version for key, version in state.versions.items() if stays(key, version)})

    async def run(self, store: FaissStore, state: State, number: int) -> None:
        if self.ids:
            await store.delete(ids=self.ids, namespace=self.namespace)
        else:
            await store.delete(filter=parse_filter({"version": self.version}), namespace=self.namespace)


@dataclass(frozen=True)
class Search:
    namespace: str = ""

    def after(self, state: State, number: int) -> State:
        return state

    async def run(self, store: FaissStore, state: State, number: int) -> None:
        await store.search_text("common", 3, namespace=self.namespace)
        await store.ids(filter=parse_filter({"version": 1, "old": True}), namespace=self.namespace)


class Compact(Search):
    async def run(self, store: FaissStore, state: State, number: int) -> None:
        await store.compact()


class Reindex(Search):
    def after(self, state: State, number: int) -> State:
        return replace(state, embedder=1)

    async def run(self, store: FaissStore, state: State, number: int) -> None:
        async def embed(documents: Sequence[Document]) -> Any:
            rows = [
                vectors(d.metadata["space"], [(str(d.metadata["name"]), d.metadata["version"])], 1) for d in documents
            ]
            return np.concatenate(rows)

        await store.reindex(FINGERPRINTS[1], embed, batch_size=25)


class Reopen(Search):
    """Handled by `workload`, which owns the store."""


def some(*numbers: int) -> tuple[str, ...]:
    return tuple(f"d{i}" for i in numbers)


STEPS: tuple[Any, ...] = (
    Upsert("", 0, 30),
    Upsert("other", 10, 20),
    Delete("", ids=some(0, 3, 6, 9, 12)),
    Upsert("", 20, 30),  # a third of it overwrites
    Search(),
    Search("other"),
    Compact(),
    Upsert(NAMESPACES[2], 0, 15),
    Delete("", version=1),
    Reopen(),
    Search(),
    Upsert("", 40, 20),
    Delete("other", version=2),  # the last ones of a namespace
    Search(),
    Reopen(),
    Upsert("other", 0, 12),
    Search("other"),
    Reindex(),
    Upsert("", 55, 20),
    Delete(NAMESPACES[2], ids=some(1, 2, 77)),
    Search(NAMESPACES[2]),
    Compact(),
    Upsert("other", 5, 12),
    Delete("", ids=some(55, 56, 57)),
    Search(),
)
SESSIONS = (0, *(at for at, step in enumerate(STEPS) if isinstance(step, Reopen)))
"""After how many steps a process may begin."""


def states() -> list[State]:
    """Returns the state after each step, the first one empty."""
    found = [State({})]
    for number, step in enumerate(STEPS, 1):
        found.append(step.after(found[-1], number))
    return found


async def workload(
    path: Path,
    acknowledge: Callable[[int], None],
    *,
    first: int = 0,
    stop: int = len(STEPS),
    before_last: Callable[[], None] = lambda: None,
) -> FaissStore:
    """Returns the open store after running the steps; `acknowledge` is called with the number of each done.

    Args:
        path: The store's.
        acknowledge: Gets the number of each step, from 1 on.
        first: How many steps the store has seen already.
        stop: After which step to stop.
        before_last: Called before the last step; before the store is opened when that is the first one, too.
    """
    history = states()
    if stop == first + 1:
        before_last()
    store = await FaissStore.open(path)
    await store.bind(FINGERPRINTS[history[first].embedder])
    for number in range(first + 1, stop + 1):
        step, state = STEPS[number - 1], history[number - 1]
        if number == stop > first + 1:
            before_last()
        if isinstance(step, Reopen):
            await store.close()
            store = await FaissStore.open(path)
            await store.bind(FINGERPRINTS[state.embedder])
        else:
            await step.run(store, state, number)
        acknowledge(number)
    return store


# Questions. Each yields what is wrong with one answer, and raises when the store refuses it.


async def same_documents(store: FaissStore, state: State) -> str:
    for namespace in NAMESPACES:
        wanted = state.of(namespace)
        names = [*wanted, "nobody", "d12345"]
        expected = [document(namespace, name, version) for name, version in wanted.items()] + [None, None]
        if await store.get(names, namespace=namespace) != expected:
            return f"other documents in {namespace!r}"
    return ""


async def same_ids(store: FaissStore, state: State) -> str:
    for namespace in NAMESPACES:
        if sorted(await store.ids(namespace=namespace)) != sorted(state.of(namespace)):
            return f"other ids in {namespace!r}"
    return ""


async def same_counts(store: FaissStore, state: State) -> str:
    counts = [await store.count(namespace=namespace) for namespace in NAMESPACES]
    right = [len(state.of(namespace)) for namespace in NAMESPACES]
    return "" if counts == right and await store.count() == sum(right) else f"counts {counts} instead of {right}"


async def same_vectors(store: FaissStore, state: State) -> str:
    for namespace in NAMESPACES:
        pairs = list(state.of(namespace).items())
        found = await store.vectors([name for name, _ in pairs], namespace=namespace)
        if any(row is None for row in found):
            return f"a vector is missing in {namespace!r}"
        if pairs and not np.array_equal(np.array(found), vectors(namespace, pairs, state.embedder)):
            return f"other vectors in {namespace!r}"
    return ""


async def same_neighbours(store: FaissStore, state: State) -> str:
    """Searches for every stored vector and a strange one."""
    for namespace in NAMESPACES:
        pairs = list(state.of(namespace).items())
        names = [name for name, _ in pairs]
        rows = vectors(namespace, pairs, state.embedder)
        queries = np.concatenate([rows, vectors(namespace, [STRANGE], state.embedder)])
        if not state.versions:
            continue
        for query, hits in zip(queries, await store.search(queries, 5, namespace=namespace), strict=True):
            scores = rows @ query
            if not np.allclose([hit.score for hit in hits], np.sort(scores)[::-1][:5], atol=1e-5):
                return f"search differs from brute force in {namespace!r}"
            for hit in hits:
                if hit.document is None or hit.document.text != document(namespace, *pairs[names.index(hit.id)]).text:
                    return f"a hit has another document in {namespace!r}"
                if abs(hit.score - scores[names.index(hit.id)]) > 1e-5:
                    return f"a hit has another score in {namespace!r}"
    return ""


async def same_filters(store: FaissStore, state: State) -> str:
    for namespace in NAMESPACES:
        wanted = state.of(namespace)
        for version in {*wanted.values(), 99}:
            names = sorted(name for name, v in wanted.items() if v == version)
            tree = parse_filter({"version": version})
            if sorted(await store.ids(filter=tree, namespace=namespace)) != names:
                return f"a filter differs in {namespace!r}"
            if await store.count(filter=tree, namespace=namespace) != len(names):
                return f"a filtered count differs in {namespace!r}"
        old = sorted(name for name, v in wanted.items() if v < 5)
        if sorted(await store.ids(filter=parse_filter({"old": True}), namespace=namespace)) != old:
            return f"a filter by truth differs in {namespace!r}"
    return ""


async def same_words(store: FaissStore, state: State) -> str:
    for namespace in NAMESPACES:
        wanted = state.of(namespace)
        questions = {"common": set(wanted), "d7": {"d7"} & set(wanted), "space9": set()}
        for version in {*wanted.values(), 1, 2}:
            questions[f"version{version}"] = {name for name, v in wanted.items() if v == version}
        for query, names in questions.items():
            hits = await store.search_text(query, 1000, namespace=namespace)
            if {hit.id for hit in hits} != names:
                return f"the search by words differs in {namespace!r} for {query!r}"
    return ""


QUESTIONS = (
    same_documents,
    same_ids,
    same_counts,
    same_vectors,
    same_neighbours,
    same_filters,
    same_words,
)


async def check(path: Path, expected: list[State]) -> str:
    """Returns what is wrong with the store at the path, writing to it too; an empty string when nothing is."""
    store = await FaissStore.open(path)
    try:
        for state in expected:
            problems = [problem async for problem in wrong(store, state)]
            if not problems:
                break
        else:
            return problems[0]
        report = await store.verify()
        if not report.ok:
            return f"verify: {report.problems[0]}"
        await store.bind(FINGERPRINTS[state.embedder])
        more = Upsert("other", 900, 1)
        await more.run(store, state, 50)
        await store.compact()
        state = more.after(state, 50)
        problems = [f"after a further write: {problem}" async for problem in wrong(store, state)]
        return problems[0] if problems else ""
    finally:
        await store.close()


async def wrong(store: FaissStore, state: State) -> AsyncIterator[str]:
    """Yields what differs from the state."""
    fingerprint = (await store.describe()).fingerprint
    if state.versions and fingerprint != FINGERPRINTS[state.embedder]:
        yield "another embedder"
        return
    for question in QUESTIONS:
        problem = await question(store, state)
        if problem:
            yield problem
            return


async def outcome(path: Path, candidates: list[State]) -> str:
    """Returns `same answers`, `reported ...` or `WRONG ...` for a damaged store: each question by itself."""
    try:
        store = await FaissStore.open(path)
    except GenkitError as error:
        return "refused at once" if error.status in REFUSALS else f"WRONG error {error}"
    try:
        found = [await _answered(store, state) for state in candidates]
        best = next((one for one in found if not one.startswith("WRONG")), found[0])
        report = await store.verify()
        if not report.ok and best == "same answers":
            return "reported by verify"
        if report.ok and best == "some refused":
            return "WRONG: refused, and verify finds nothing"
        return best
    finally:
        await store.close()


REFUSALS = ("DATA_LOSS", "UNAVAILABLE", "FAILED_PRECONDITION")


async def _answered(store: FaissStore, state: State) -> str:
    refused = False
    for question in QUESTIONS:
        try:
            problem = await question(store, state)
        except GenkitError as error:
            if error.status not in REFUSALS:
                return f"WRONG error {error}"
            refused = True
        else:
            if problem:
                return f"WRONG {problem}"
    return "some refused" if refused else "same answers"
