"""What the type checkers know of the verbs; checked by mypy and pyright, never run."""

from typing import Any, assert_type

from pydantic import BaseModel

from genkit_rag import Action, Genkit, ModelResponse
from genkit_rag.plugin_api import Tool

ai = Genkit()


class Profile(BaseModel):
    name: str


@ai.tool
async def add(x: int) -> int:
    return x


@ai.tool(timeout=3)
def shout(text: str) -> str:
    return text.upper()


@ai.flow(name="greet")
async def greet(name: str) -> str:
    return f"Hello, {name}"


async def generated() -> None:
    assert_type(await ai.generate("hi"), ModelResponse[Any])
    typed = await ai.generate("hi", output_schema=Profile, tools=[add], output_retries=1)
    assert_type(typed.output, Profile)
    streamed = ai.generate_stream("hi", output_schema=Profile)
    assert_type((await streamed.response).output, Profile)


assert_type(greet, Action[str, str, Any])
assert_type(add, Tool[int])
assert_type(shout, Tool[str])
