"""A model that searches by itself: retrieval as a tool, a second tool beside it, every step printed.

python samples/tool_calling/main.py                              # offline, with the stand-in below
python samples/tool_calling/main.py --model ollama/llama3.2      # a model that calls tools
OPENAI_API_KEY=... python samples/tool_calling/main.py --model openai/gpt-4o-mini
"""

import argparse
import tempfile
from typing import Annotated

from pydantic import Field

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
    retry,
)
from genkit_rag.local import Faiss, MiniLM
from genkit_rag.plugin_api import ModelSupports
from genkit_rag_ollama import Ollama
from genkit_rag_openai import OpenAI

HANDBOOK = [
    Document("Parcels are sent within two working days.", {"page": 3}),
    Document("Returns are free within thirty days. Print the label from your account.", {"page": 5}),
    Document("The warranty covers two years from the day of purchase.", {"page": 9}),
]
ORDERS = {"A17": "sent on Monday", "B42": "being packed"}

ai = Genkit(plugins=[MiniLM(), Faiss(["handbook"], path=tempfile.mkdtemp()), OpenAI(), Ollama()])


@ai.tool
async def search_handbook(question: Annotated[str, Field(description="What to look for, as a question")]) -> list[str]:
    """Returns the passages of the shop's handbook that fit a question."""
    return [document.text for document in await ai.retrieve("faiss/handbook", question, {"k": 2})]


@ai.tool
def order_status(order: str) -> str:
    """Returns where an order is."""  # a plain function: it runs in a worker thread
    return ORDERS.get(order, "unknown order")


async def stand_in(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    """A model without a model: asks for both tools, then repeats what they gave. A model is just an action."""
    last = request.messages[-1]
    if last.role == "tool":
        found = [part.tool_response.output for part in last.content if part.tool_response]
        passages, status = " ".join(found[0]), found[1]
        return _answer(Part(text=f"The handbook says: {passages} Your order: {status}."))
    return _answer(
        Part(tool_request=ToolRequest(name="search_handbook", input={"question": last.text}, ref="1")),
        Part(tool_request=ToolRequest(name="order_status", input={"order": "A17"}, ref="2")),
    )


def _answer(*parts: Part) -> ModelResponse:
    return ModelResponse(message=Message(role="model", content=list(parts)), finish_reason="stop")


ai.define_model("sample/stand-in", stand_in, info=ModelInfo(supports=ModelSupports(tools=True)))


async def main(model: str) -> None:
    await ai.index("faiss/handbook", HANDBOOK)
    response = await ai.generate(
        "Can I send back order A17, and where is it now?",
        model=model,
        tools=["search_handbook", "order_status"],
        tool_errors="return",
        use=[retry(max_retries=2)],
    )
    for message in response.messages:
        for part in message.content:
            if part.tool_request:
                print(f"-> {part.tool_request.name}({part.tool_request.input})")
            if part.tool_response:
                print(f"<- {part.tool_response.output}")
    print(response.text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample/stand-in")
    ai.run_main(main(parser.parse_args().model))
