"""`genkit-rag ask`: an answer from the passages that the store has on a question."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genkit_rag._cli.failures import FAILED
from genkit_rag._cli.options import DEFAULT_FOLDER, Embedder, Folder, Json, Store, examples
from genkit_rag._cli.output import Output
from genkit_rag._cli.stores.choosing import EMBEDDED_MODEL, MODEL_VARIABLE, Choice, choose_model
from genkit_rag._cli.stores.project import Opened, Project, opened
from genkit_rag._cli.stores.query import Filter, Rerank, Search, find, parsed_filter, read_text, reranker_name
from genkit_rag._cli.stores.quoting import quote_config
from genkit_rag._core.errors import GenkitError

if TYPE_CHECKING:
    from genkit_rag._documents.document import Document
    from genkit_rag._documents.part import Part
    from genkit_rag._generation.model import ModelResponse

K = 6
MAX_TOKENS = 512

SMALL_K = 3
SMALL_MAX_TOKENS = 160
"""For the embedded model: it loses the thread in more, and reads and writes slowly on a small machine."""


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "ask",
        epilog=examples(
            'genkit-rag ask "how are tokens renewed?"',
            'genkit-rag ask "how are tokens renewed?" --model ollama/llama3.2 --k 4',
            "genkit-rag ask - --json < question.txt",
        ),
    )(ask)


def ask(  # noqa: PLR0913 - each is an option of the command line
    text: Annotated[str, typer.Argument(help="The question; - reads it from stdin.")],
    model: Annotated[
        str | None,
        typer.Option("--model", envvar=MODEL_VARIABLE, help="The model, such as openai/NAME or ollama/NAME."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            "-k",
            min=1,
            max=100,
            help="How many passages the model gets; 6 by default, 3 for the embedded model.",
        ),
    ] = None,
    filter: Filter = None,
    rerank: Rerank = None,
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    embedder: Embedder = None,
    json: Json = False,
) -> None:
    """Answer a question from the passages.

    The answer is printed as it comes, then the passages that it cites.

    Without --model and without a default in genkit_rag.toml, the first available one answers: the server at
    OPENAI_BASE_URL, OpenAI if OPENAI_API_KEY is set, a running Ollama, the embedded model. The embedded model is small:
    it answers with a sentence of the passages, quoted.
    """
    # No k is 0 here: as many passages as suit the model, which is not chosen yet.
    project = Project(folder, store, embedder)
    search = Search(read_text(text), k or 0, filter=parsed_filter(filter), reranker=reranker_name(project, rerank))
    asyncio.run(_ask(project, search, model, Output(json=json)))


async def _ask(project: Project, search: Search, model: str | None, out: Output) -> None:
    await project.require()  # before anything is said about models
    choice = await choose_model(project.config, model)
    if not search.k:
        search = replace(search, k=SMALL_K if choice.model == EMBEDDED_MODEL else K)
    async with opened(project) as place:
        documents = (await find(place, project, search)).documents
        if not documents:
            raise GenkitError(
                "NOT_FOUND",
                f"`{project.label}` has no passage on this, so no model was asked.",
                hint="Ask in other words, drop --filter, or ingest more: genkit-rag ingest PATH",
            )
        out.say(f"{choice.model} ({choice.reason}), {len(documents)} passages")
        response = await _generate(place, search, documents, choice, out)
        if out.json:
            out.data(_data(search, choice, documents, response))
        else:
            _show_passages(search, documents, response, out)
        if not response.text.strip():
            out.say("The model gave no answer.")
            raise typer.Exit(FAILED)


async def _generate(
    place: Opened, search: Search, documents: list[Document], choice: Choice, out: Output
) -> ModelResponse:
    options: dict[str, Any] = {"model": choice.model, "docs": documents, "config": {"max_output_tokens": MAX_TOKENS}}
    prompt: Any = search.text
    if choice.model == EMBEDDED_MODEL:
        prompt, options["use"] = _for_small_model(search.text)
        quoted = await quote_config(place.ai, place.embedder, search.text, documents)
        options["config"] = {"max_output_tokens": SMALL_MAX_TOKENS, **quoted}
    if out.json:
        return await place.ai.generate(prompt, **options)
    stream = place.ai.generate_stream(prompt, **options)
    async for chunk in stream.stream:
        out.write(chunk.text)
    response = await stream.response
    out.write("\n" if response.text.endswith("\n") else "\n\n")
    return response


def _for_small_model(question: str) -> tuple[list[Part], list[Any]]:
    """Return prompt and middleware for a model of 135 million parameters.

    It repeats instructions and delimiters instead of following them; with bare passages first and the question last it
    answers. It has no tools, so a passage that steers it can do no more than spoil the answer.
    """
    from genkit_rag._documents.part import Part
    from genkit_rag._generation.augmentation import augment_with_context

    passages = augment_with_context(
        preface="Answer the question in one sentence from these passages.\n\n",
        item_template=lambda document, _, key: f"[{key}] {document.text}\n",
    )
    context = Part(text="", metadata={"purpose": "context", "pending": True})
    return [context, Part(text=f"\nQuestion: {question}\nAnswer:")], [passages]


def _show_passages(search: Search, documents: list[Document], response: ModelResponse, out: Output) -> None:
    from genkit_rag._cli.stores.passages import show_passage

    if response.finish_reason == "length":
        out.say("The answer was cut off: it became too long.")
    if response.citations.unknown:
        out.say(f"The answer names passages that it was not given: {', '.join(response.citations.unknown)}")
    passages = {citation.key: citation.document for citation in response.citations}
    if not passages:
        out.say("The answer names no passage. It was given these:")
        passages = {str(number): document for number, document in enumerate(documents, 1)}
    for key, document in passages.items():
        show_passage(out, f"[{key}]", document, search.text)


def _data(search: Search, choice: Choice, documents: list[Document], response: ModelResponse) -> dict[str, Any]:
    from genkit_rag._cli.stores.passages import passage_data

    passages = [
        {"key": str(number), **passage_data(document, search.text)} for number, document in enumerate(documents, 1)
    ]
    return {
        "question": search.text,
        "answer": response.text,
        "model": choice.model,
        "reason": choice.reason,
        "finish_reason": response.finish_reason,
        "citations": [{"key": c.key, "id": c.document.id, "spans": c.spans} for c in response.citations],
        "unknown_citations": response.citations.unknown,
        "passages": passages,
        "usage": response.usage.model_dump(exclude_none=True) if response.usage else None,
    }
