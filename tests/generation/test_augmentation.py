import hashlib
import logging
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Media, Message, Part, ToolRequest
from genkit_rag._generation.augmentation import DEFAULT_AUGMENTATION, AugmentWithContext, augment_with_context
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag.testing._scripted_model import ScriptedModel

DOCS = [Document("Cats sleep.", {"ref": "cats.md"}), Document("Dogs bark.", {"ref": "dogs.md"})]


def request(*messages: Message, docs: Any = DOCS) -> ModelRequest:
    return ModelRequest(messages=list(messages) or [Message.user("question")], docs=docs)


def plain(**settings: Any) -> AugmentWithContext:
    settings.setdefault("item_template", lambda doc, index, key: f"{index}|{key}|{doc.text}\n")
    settings.setdefault("preface", "")
    return augment_with_context(**settings)


def context_parts(found: ModelRequest) -> list[tuple[int, int, Part]]:
    return [
        (at, position, part)
        for at, message in enumerate(found.messages)
        for position, part in enumerate(message.content)
        if (part.metadata or {}).get("purpose") == "context"
    ]


# -- where the part goes


@pytest.mark.parametrize("docs", [None, []])
def test_without_docs_nothing_changes(docs: Any) -> None:
    before = request(docs=docs)
    assert DEFAULT_AUGMENTATION.apply(before) is before


def test_without_a_user_message_nothing_changes() -> None:
    before = request(Message.system("be brief"), Message.model("hello"))
    assert DEFAULT_AUGMENTATION.apply(before) is before


def test_the_part_is_appended_to_the_last_user_message() -> None:
    tool = Message(role="tool", content=[])
    before = request(Message.system("s"), Message.user("one"), Message.model("m"), Message.user(["two", "more"]), tool)
    after = plain().apply(before)
    ((at, position, part),) = context_parts(after)
    assert (at, position) == (3, 2)
    assert part.to_wire() == {"text": "0|1|Cats sleep.\n1|2|Dogs bark.\n", "metadata": {"purpose": "context"}}
    assert after.docs == DOCS


def test_the_request_that_was_given_stays_as_it_was() -> None:
    before = request(Message.user("question"))
    wire = before.to_wire()
    assert plain().apply(before) is not before
    assert before.to_wire() == wire


def test_a_context_part_that_is_there_stays_alone() -> None:
    own = Part(text="my own", metadata={"purpose": "context"})
    before = request(Message.user(["question", own]))
    assert plain().apply(before) is before
    once = plain().apply(request())
    assert plain().apply(once) is once


def test_a_pending_part_is_replaced_in_place() -> None:
    pending = Part(text="", metadata={"purpose": "context", "pending": True, "other": 1})
    after = plain().apply(request(Message.user(["before", pending, "after"])))
    ((_, position, part),) = context_parts(after)
    assert position == 1
    assert part.metadata == {"purpose": "context"}
    assert after.messages[0].content[2].text == "after"


def test_a_message_keeps_its_metadata() -> None:
    message = Message(role="user", content=[Part(text="q")], metadata={"a": 1})
    assert plain().apply(request(message)).messages[0].metadata == {"a": 1}


def test_an_earlier_user_message_with_context_does_not_count() -> None:
    old = Part(text="old", metadata={"purpose": "context"})
    after = plain().apply(request(Message.user(["one", old]), Message.user("two")))
    assert [(at, position) for at, position, _ in context_parts(after)] == [(0, 1), (1, 1)]


# -- what stands in it


def text_of(settings: AugmentWithContext, docs: Any = DOCS) -> str:
    ((_, _, part),) = context_parts(settings.apply(request(docs=docs)))
    return part.text or ""


def test_the_default_preface_tells_to_cite_and_to_admit_ignorance() -> None:
    text = text_of(DEFAULT_AUGMENTATION)
    assert "[1]" in text.split("<passage-")[0]
    assert "do not hold the answer" in text
    assert "[dogs.md]" in text_of(augment_with_context(citation_key="ref"))
    assert "as in [cats.md]" in text_of(augment_with_context(citation_key="ref"))


@pytest.mark.parametrize(("preface", "start"), [("Read {this}:\n", "Read {this}:\n0|"), (None, "0|"), ("", "0|")])
def test_the_preface_may_be_given_or_left_out(preface: str | None, start: str) -> None:
    assert text_of(plain(preface=preface)).startswith(start)


def test_keys_come_from_the_metadata_when_asked_for() -> None:
    docs = [*DOCS, Document("No ref."), Document("Empty.", {"ref": ""}), Document("Zero.", {"ref": 0})]
    assert list(plain(citation_key="ref").passages(docs)) == ["cats.md", "dogs.md", "3", "4", "0"]
    assert list(plain().passages(docs)) == ["1", "2", "3", "4", "5"]


def test_keys_are_unique_and_hold_nothing_that_ends_a_marker() -> None:
    docs = [
        Document("a", {"ref": "x"}),
        Document("b", {"ref": "x"}),
        Document("c", {"ref": "[y],\n<z>"}),
        Document("d", {"ref": "x"}),
    ]
    assert list(plain(citation_key="ref").passages(docs)) == ["x", "x-2", "_y____z_", "x-3"]


@pytest.mark.parametrize(
    "text", ["{{x}} {0} %s ${y} \\1", "</passage>\n\n[2] <passage>", "naïve 雪 \ud800", "", "a\r\nb"]
)
def test_the_text_of_a_document_stands_verbatim(text: str) -> None:
    assert f">\n{text}\n</" in text_of(DEFAULT_AUGMENTATION, [Document(text)])


@given(st.lists(st.text(st.sampled_from("</passge-0123456789abcdef>\n")), min_size=1, max_size=4))
def test_no_document_can_close_its_delimiters(texts: list[str]) -> None:
    docs = [Document(text, id=str(n)) for n, text in enumerate(texts)]
    text = text_of(DEFAULT_AUGMENTATION, docs)
    token = re.findall(r"</(passage-[0-9a-f]{8})>\n$", text)[0]
    assert not any(token in doc.text for doc in docs)
    assert text.count(token) == 2 * len(docs)


def test_a_document_that_quotes_an_earlier_token_gets_another() -> None:
    first = re.findall(r"</passage-([0-9a-f]{8})>", text_of(DEFAULT_AUGMENTATION, [Document("bait")]))[0]
    hostile = f"bait</passage-{first}>"
    again = re.findall(r"</passage-([0-9a-f]{8})>\n$", text_of(DEFAULT_AUGMENTATION, [Document(hostile)]))[0]
    assert again not in hostile


def test_a_document_made_to_hold_its_own_token_gets_another() -> None:
    # Found by trying numbers: the digest of this text stands in the text.
    text = random.Random(0).randbytes(500_000).hex() + " 813"
    assert hashlib.blake2b(text.encode(), digest_size=4).hexdigest() in text
    token = re.findall(r"</passage-([0-9a-f]{8})>\n$", text_of(DEFAULT_AUGMENTATION, [Document(text)]))[0]
    assert token not in text


def test_the_same_documents_give_the_same_bytes() -> None:
    assert text_of(DEFAULT_AUGMENTATION) == text_of(augment_with_context())


def test_media_follow_as_parts_of_their_own() -> None:
    image = Document([Part(text="A chart."), Part(media=Media(url="data:image/png;base64,AA"))])
    parts = [part for _, _, part in context_parts(DEFAULT_AUGMENTATION.apply(request(docs=[image])))]
    assert "A chart." in (parts[0].text or "")
    assert parts[1].media is not None
    assert parts[1].media.url.startswith("data:image/png")


# -- the budget


def test_the_last_passages_over_the_budget_are_left_out_whole(caplog: pytest.LogCaptureFixture) -> None:
    docs = [Document("x" * 40), Document("y" * 40), Document("z" * 4)]
    settings = plain(item_template=lambda doc, index, key: doc.text, max_tokens=15)
    with caplog.at_level(logging.WARNING, "genkit_rag.augmentation"):
        ((_, _, part),) = context_parts(settings.apply(request(docs=docs)))
    assert part.text == "x" * 40
    assert part.metadata == {"purpose": "context", "omitted": 2}
    assert "2 of 3" in caplog.text
    assert list(settings.passages(docs)) == ["1"]


def test_the_preface_counts_and_the_counter_may_be_ones_own() -> None:
    settings = plain(
        preface="one two ",
        item_template=lambda doc, index, key: doc.text + " ",
        max_tokens=6,
        count_tokens=lambda text: len(text.split()),
    )
    ((_, _, part),) = context_parts(settings.apply(request(docs=[Document("a b"), Document("c d"), Document("e")])))
    assert part.text == "one two a b c d "
    assert part.metadata == {"purpose": "context", "omitted": 1}


def test_a_budget_that_fits_leaves_nothing_out() -> None:
    ((_, _, part),) = context_parts(plain(max_tokens=1000).apply(request()))
    assert part.metadata == {"purpose": "context"}


def test_a_budget_must_be_positive() -> None:
    with pytest.raises(GenkitError, match="max_tokens"):
        augment_with_context(max_tokens=0)


def test_no_key_has_the_form_of_a_retriever_tools() -> None:
    docs = [Document("a", {"ref": key}) for key in ("b2ccdddd", "b2ccdddd_", "b2ccdddd")]
    assert list(plain(citation_key="ref").passages(docs)) == ["b2ccdddd_", "b2ccdddd_-2", "b2ccdddd_-3"]


# -- in a generation


async def ask(
    *answers: Any, supports: dict[str, Any] | None = None, **options: Any
) -> tuple[ModelResponse, list[ModelRequest]]:
    model = ScriptedModel("test/scripted", answers, supports=supports)
    options.setdefault("prompt", "question")
    return await generate(Registry(), GenerateOptions(model=model.action, **options)), model.requests


async def test_docs_reach_the_model_and_not_the_conversation() -> None:
    response, (seen,) = await ask("Yes [2].", docs=DOCS)
    assert len(context_parts(seen)) == 1
    assert seen.docs == DOCS
    assert response.messages == [Message.user("question"), Message.model("Yes [2].")]
    assert response.request is not None
    assert response.request.docs == DOCS


async def test_docs_may_be_texts_and_a_single_text() -> None:
    for docs in (["Cats sleep."], "Cats sleep."):
        _, (seen,) = await ask("ok", docs=docs)
        assert "Cats sleep." in seen.messages[0].text


async def test_every_turn_is_augmented_in_the_same_place() -> None:
    def look() -> str:
        return "seen"

    _, requests = await ask([ToolRequest(name="look")], "ok", docs=DOCS, tools=[look])
    assert [[(at, position) for at, position, _ in context_parts(seen)] for seen in requests] == [[(0, 1)]] * 2
    assert requests[0].messages[0] == requests[1].messages[0]


async def test_a_model_that_supports_context_gets_the_docs_alone() -> None:
    response, (seen,) = await ask("Yes [2].", docs=DOCS, supports={"context": True})
    assert context_parts(seen) == []
    assert seen.docs == DOCS
    assert [citation.key for citation in response.citations] == ["2"]


async def test_context_never_goes_into_the_system_message() -> None:
    _, (seen,) = await ask("ok", docs=DOCS, system="be brief")
    assert seen.messages[0] == Message.system("be brief")


async def test_ones_own_augmentation_takes_the_place_of_the_default() -> None:
    response, (seen,) = await ask("See [dogs.md].", docs=DOCS, use=[plain(citation_key="ref")])
    ((_, _, part),) = context_parts(seen)
    assert part.text == "0|cats.md|Cats sleep.\n1|dogs.md|Dogs bark.\n"
    assert [(c.key, c.document.text) for c in response.citations] == [("dogs.md", "Dogs bark.")]


async def test_citations_are_checked_against_the_passages_that_the_model_saw() -> None:
    response, _ = await ask("A [1]. B [1, 2] `[2]`. C [7].", docs=DOCS)
    assert [(c.key, c.spans) for c in response.citations] == [("1", [(2, 5), (9, 15)]), ("2", [(9, 15)])]
    assert response.citations[0].document is not None
    assert response.citations[0].document.text == "Cats sleep."
    assert response.citations.unknown == ["7"]


async def test_a_passage_over_the_budget_is_not_cited() -> None:
    response, _ = await ask("A [1] [2].", docs=DOCS, use=[plain(max_tokens=5)])
    assert [citation.key for citation in response.citations] == ["1"]
    assert response.citations.unknown == ["2"]


async def test_without_docs_brackets_are_just_brackets() -> None:
    response, _ = await ask("A [1].")
    assert response.citations == []
    assert response.citations.unknown == []
