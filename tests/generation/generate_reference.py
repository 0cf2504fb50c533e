"""What a generation with tools must give, in plain data: random plans, and a model that foretells what they come to.

No asyncio and no class of the library: the rules, written a second time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

PROMPT = {"role": "user", "content": [{"text": "go"}]}
FAILURES = {"refuse": "PERMISSION_DENIED", "crash": "INTERNAL", "hang": "DEADLINE_EXCEEDED"}
NOT_RUN = {"unknown": "NOT_FOUND", "malformed": "INVALID_ARGUMENT"}
Wire = dict[str, Any]


# -- plans


@dataclass(frozen=True)
class Deed:
    """What one run of a tool does: `value`, `interrupt` or one of the failures, after some ticks of the loop."""

    does: str
    value: Any = None
    ticks: int = 0


@dataclass(frozen=True)
class Call:
    """One request of the model's: `kind` is the tool (or why none runs), `deeds` what its runs do in turn."""

    kind: str
    number: int
    ref: str | None
    deeds: tuple[Deed, ...]

    @property
    def name(self) -> str:
        return {"unknown": "nobody", "malformed": "work"}.get(self.kind, self.kind)

    @property
    def input(self) -> Wire:
        return {"number": "many"} if self.kind == "malformed" else {"number": self.number}


@dataclass(frozen=True)
class Plan:
    turns: tuple[tuple[tuple[str, ...], tuple[Call, ...]], ...]  # the pieces of text and the requests of each turn
    options: Wire


VALUES = st.sampled_from([0, False, "", None, [], {}, "text", 2.5, {"a": None}, [1, {"b": ""}]])
METADATA = st.sampled_from([None, {"ask": "sure?"}, {"nothing": None}])
QUICK_DEEDS = st.one_of(
    st.builds(Deed, st.just("value"), VALUES, st.integers(0, 3)),
    st.builds(Deed, st.just("interrupt"), METADATA, st.integers(0, 3)),
    st.just(Deed("interrupt")),
    st.builds(Deed, st.sampled_from(["refuse", "crash"]), st.none(), st.integers(0, 3)),
)


@st.composite
def plans(draw: st.DrawFn, *, quick: bool = False) -> Plan:
    """Plans; quick ones wait for neither threads nor clocks."""
    numbers = iter(range(1000))
    kinds = ["work", "work", "work", "parts", "unknown", "malformed"] + ([] if quick else ["block", "hang"])
    tolerant = draw(st.booleans())

    def call() -> Call:
        kind, number = draw(st.sampled_from(kinds)), next(numbers)
        deeds = draw(st.lists(QUICK_DEEDS, min_size=1, max_size=3))
        if not tolerant and draw(st.booleans()):  # or hardly any plan would get beyond its first failure
            kind = kind if kind in ("parts", "block") else "work"
            deeds = [deed if deed.does not in FAILURES else Deed("interrupt") for deed in deeds]
        if kind == "hang":
            deeds = [Deed("hang")]
        return Call(kind, number, f"r{number}", tuple(deeds))

    def turn(least: int) -> tuple[tuple[str, ...], tuple[Call, ...]]:
        calls = [call() for _ in range(draw(st.integers(least, 4)))]
        names = Counter(c.name for c in calls)
        without = draw(st.booleans())  # a request without a ref is only found again when no other has its name
        calls = [Call(c.kind, c.number, None, c.deeds) if without and names[c.name] == 1 else c for c in calls]
        return tuple(draw(st.lists(st.sampled_from(["a ", "b", "é"]), max_size=2))), tuple(calls)

    turns = [turn(1), *(turn(0) for _ in range(draw(st.integers(0, 3))))]
    options = {
        "tool_errors": "return" if tolerant else "raise",
        "max_turns": draw(st.sampled_from([0, 1, 2, 5, 5, 5])),
        "return_tool_requests": draw(st.sampled_from([False] * 7 + [True])),
    }
    return Plan(tuple(turns), options)


@dataclass(frozen=True)
class Reply:
    """What becomes of one interrupt."""

    kind: str  # respond, restart, missing
    payload: Any = None
    new_input: bool = False


REPLIES = st.one_of(
    st.builds(Reply, st.just("respond"), VALUES),
    st.builds(Reply, st.just("restart"), st.sampled_from([None, True, {"by": "ada"}]), st.booleans()),
    st.builds(Reply, st.just("restart"), st.none(), st.just(True)),
    st.builds(Reply, st.sampled_from(["respond", "restart", "missing"])),
)
EXTRAS = st.sampled_from([None] * 8 + ["stranger", "twice", "forged", "pending"])


# -- the model


@dataclass
class Expected:
    messages: list[Wire]
    finish: str | None = "stop"
    statuses: set[str] = field(default_factory=set)
    chunks: list[tuple[str, int, Any]] = field(default_factory=list)
    asked: int = 0
    ran: list[tuple[int, str, Any, Any]] = field(default_factory=list)


class Reference:
    """The semantics, in plain data. Its state between two calls: how often each tool ran, which turn is next."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.next_turn = 0
        self.runs: Counter[int] = Counter()
        self.calls = {call.number: call for _, calls in plan.turns for call in calls}

    def start(self) -> Expected:
        return self._turns(Expected([PROMPT]))

    def resume(self, messages: list[Wire], answers: dict[int, Reply], metadata: Any) -> Expected:
        """Goes on after an interrupt; `answers` by the position of the request in the last message."""
        expected = Expected(list(messages))
        asking, outcomes = messages[-1], []
        content = []
        for position, part in enumerate(asking["content"]):
            if "toolRequest" not in part:
                content.append(part)
                continue
            request, known = part["toolRequest"], dict(part.get("metadata") or {})
            if "pendingOutput" in known:
                response = {**_named(request), "output": known.pop("pendingOutput")}
                if "pendingContent" in known:
                    response["content"] = known.pop("pendingContent")
                outcomes.append(_response(response, {**known.pop("pendingMetadata", {}), "source": "pending"}))
            else:
                known["resolvedInterrupt"] = known.pop("interrupt")
                reply = answers[position]
                if reply.kind == "respond":
                    outcome = _response({**_named(request), "output": reply.payload}, {"interruptResponse": True})
                else:
                    known["resumed"] = True if reply.payload is None else reply.payload
                    if reply.new_input:
                        known.setdefault("replacedInput", request["input"])
                        request = {**request, "input": {**request["input"], "note": "new"}}
                    outcome = self._run(expected, request, known)
                outcomes.append(outcome)
            content.append({"toolRequest": request, **({"metadata": known} if known else {})})
        if expected.statuses:
            return expected
        asked = {**asking, "content": content}
        if any("interrupt" in outcome for outcome in outcomes):
            return self._interrupted(expected, messages[:-1], asked, outcomes)
        expected.messages = [*messages[:-1], asked]
        self._answer(expected, outcomes, {"resumed": metadata or True})
        return self._turns(expected)

    def _turns(self, expected: Expected) -> Expected:
        taken = 0
        while True:
            expected.asked += 1
            pieces, calls = self.plan.turns[self.next_turn] if self.next_turn < len(self.plan.turns) else (("end",), ())
            self.next_turn += 1
            for piece in pieces:
                self._chunk(expected, "model", [{"text": piece}])
            content: list[Wire] = [{"text": "".join(pieces)}] if pieces else []
            content += [
                {"toolRequest": {"name": c.name, "input": c.input, **({"ref": c.ref} if c.ref else {})}} for c in calls
            ]
            message: Wire = {"role": "model", "content": content}
            before, expected.messages = expected.messages, [*expected.messages, message]
            if not calls or self.plan.options["return_tool_requests"]:
                return expected
            if taken == self.plan.options["max_turns"]:
                expected.statuses = {"ABORTED"}
                return expected
            taken += 1
            outcomes = [self._run(expected, p["toolRequest"], {}) for p in content if "toolRequest" in p]
            if expected.statuses:
                return expected
            if any("interrupt" in outcome for outcome in outcomes):
                return self._interrupted(expected, before, message, outcomes)
            self._answer(expected, outcomes, None)

    def _run(self, expected: Expected, request: Wire, known: Wire) -> Wire:
        """Gives the part of the response, `{"interrupt": ...}`, or notes a failure."""
        number = request["input"]["number"]
        call = self.calls.get(number)
        if request["name"] == "nobody" or call is None:
            status: str | None = NOT_RUN["unknown" if request["name"] == "nobody" else "malformed"]
            deed = Deed("fail")
        else:
            deed = call.deeds[min(self.runs[number], len(call.deeds) - 1)]
            self.runs[number] += 1
            note = request["input"].get("note", "")
            expected.ran.append((number, note, known.get("resumed"), known.get("replacedInput")))
            status = FAILURES.get(deed.does)
        if deed.does == "interrupt":
            return {"interrupt": deed.value or True}
        if status is None:
            response = {**_named(request), "output": deed.value}
            if request["name"] == "parts":
                return _response({**response, "content": [{"text": "seen"}]}, {"by": "parts"})
            return _response(response)
        if self.plan.options["tool_errors"] == "return":
            return _response({**_named(request), "output": {"error": status}})
        expected.statuses.add(status)
        return {}

    def _interrupted(self, expected: Expected, before: list[Wire], asked: Wire, outcomes: list[Wire]) -> Expected:
        left = iter(outcomes)
        content = []
        for part in asked["content"]:
            if "toolRequest" not in part:
                content.append(part)
                continue
            outcome, known = next(left), dict(part.get("metadata") or {})
            if "interrupt" in outcome:
                known |= outcome
            else:
                known["pendingOutput"] = outcome["toolResponse"]["output"]
                if "content" in outcome["toolResponse"]:
                    known["pendingContent"] = outcome["toolResponse"]["content"]
                if "metadata" in outcome:
                    known["pendingMetadata"] = outcome["metadata"]
            content.append({**part, "metadata": known})
        expected.messages = [*before, {**asked, "content": content}]
        expected.finish = "interrupted"
        return expected

    def _answer(self, expected: Expected, outcomes: list[Wire], metadata: Wire | None) -> None:
        message = {"role": "tool", "content": outcomes, **({"metadata": metadata} if metadata else {})}
        expected.messages = [*expected.messages, message]
        self._chunk(expected, "tool", outcomes)

    def _chunk(self, expected: Expected, role: str, content: Any) -> None:
        last = expected.chunks[-1] if expected.chunks else ("", -1, None)
        expected.chunks.append((role, last[1] + (role != last[0]), content))


def _named(request: Wire) -> Wire:
    return {key: request[key] for key in ("name", "ref") if key in request}


def _response(response: Wire, metadata: Wire | None = None) -> Wire:
    return {"toolResponse": response, **({"metadata": metadata} if metadata else {})}
