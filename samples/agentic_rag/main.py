"""Agentic RAG: the model searches by itself, as often as it wants, and its answer cites what it found.

python samples/agentic_rag/main.py                              # offline, with the stand-in below
python samples/agentic_rag/main.py --model ollama/llama3.2      # a model that calls tools
OPENAI_API_KEY=... python samples/agentic_rag/main.py --model openai/gpt-4o-mini
"""

import argparse
import tempfile

from genkit_rag import (
    ActionContext,
    Document,
    Genkit,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    Part,
    ToolRequest,
)
from genkit_rag.local import Faiss, MiniLM
from genkit_rag.plugin_api import ModelSupports
from genkit_rag_ollama import Ollama
from genkit_rag_openai import OpenAI

HANDBOOK = [
    Document("Parcels are sent within two working days.", {"page": 3, "shop": "north"}),
    Document("Returns are free within thirty days.", {"page": 5, "shop": "north"}),
    Document("The warranty covers two years from the day of purchase.", {"page": 9, "shop": "north"}),
    Document("Returns cost five euros.", {"page": 2, "shop": "south"}),
]

ai = Genkit(plugins=[MiniLM(), Faiss(["handbook"], path=tempfile.mkdtemp()), OpenAI(), Ollama()])

# The model says what it looks for. Where it may look is said here: it cannot reach the pages of another shop.
search_handbook = ai.retriever_tool(
    "faiss/handbook",
    description="Searches the shop's handbook: shipping, returns, warranty.",
    k=1,
    filter=lambda ctx: {"shop": ctx.context["shop"]},
)


async def stand_in(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    """A model without a model: searches for each question by itself, then repeats what it found, with the keys."""
    last = request.messages[-1]
    if last.role == "tool":
        outputs = [part.tool_response.output for part in last.content if part.tool_response]
        found = [passage for output in outputs for passage in output["passages"]]
        return _answer(Part(text=" ".join(f"{passage['text']} [{passage['key']}]" for passage in found)))
    questions = [f"{question.strip()}?" for question in last.text.split("?") if question.strip()]
    return _answer(
        *(
            Part(tool_request=ToolRequest(name="search_handbook", input={"query": question}, ref=str(number)))
            for number, question in enumerate(questions)
        )
    )


def _answer(*parts: Part) -> ModelResponse:
    return ModelResponse(message=Message(role="model", content=list(parts)), finish_reason="stop")


ai.define_model("sample/stand-in", stand_in, info=ModelInfo(supports=ModelSupports(tools=True)))


async def main(model: str) -> None:
    await ai.index("faiss/handbook", HANDBOOK)
    response = await ai.generate(
        "What does a return cost? How long does the warranty last?",
        model=model,
        tools=[search_handbook],
        tool_errors="return",
        context={"shop": "north"},  # tools and retrievers see it, the model does not
    )
    for message in response.messages:
        for part in message.tool_requests:
            if part.tool_request:
                print(f"-> {part.tool_request.name}({part.tool_request.input})")
    print(response.text)
    for citation in response.citations:
        print(f"  [{citation.key}] page {citation.document.metadata['page']}")
    if response.citations.unknown:
        print(f"  Named by the model, but no passage: {response.citations.unknown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample/stand-in")
    ai.run_main(main(parser.parse_args().model))
