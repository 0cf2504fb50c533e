"""A model that plays a script."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from genkit_rag._core.action import adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message, Part, ToolRequest
from genkit_rag._generation.model import (
    ModelAction,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    ModelSupports,
    model_action,
)

Answer = (
    str
    | Part
    | ToolRequest
    | Message
    | ModelResponse
    | list[str | Part | ToolRequest]
    | BaseException
    | type[BaseException]
    | Callable[..., Any]
)


class ScriptedModel:
    """A model action that returns scripted answers, one for each call, and records the requests.

    An answer is a text, a part, a `ToolRequest`, a list of these, a `Message`, a `ModelResponse`, an exception to
    raise, or a function of the request (`(request)` or `(request, ctx)`, sync or async) that returns one of these. Text
    is streamed word by word if the caller streams. A call after the last answer raises FAILED_PRECONDITION.

    Args:
        name: The name of the model action.
        answers: The script.
        supports: The capabilities that the model declares.

    Attributes:
        action: The model action.
        requests: The requests, in the order of the calls.
    """

    def __init__(
        self,
        name: str,
        answers: Iterable[Answer],
        *,
        supports: ModelSupports | Mapping[str, Any] | None = None,
    ) -> None:
        self._answers = list(answers)
        self.requests: list[ModelRequest] = []
        can = ModelSupports.model_validate(supports) if supports is not None else None
        self.action: ModelAction = model_action(name, self._respond, info=ModelInfo(label=name, supports=can))

    async def _respond(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        call = len(self.requests)
        self.requests.append(request)
        if call >= len(self._answers):
            raise GenkitError(
                "FAILED_PRECONDITION",
                f"The script of `{self.action.name}` ended after {len(self._answers)} answers.",
                hint="Add an answer for every model call.",
            )
        answer: Any = self._answers[call]
        if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
            raise answer
        if callable(answer):
            answer = await adapt(answer)(request, ctx)
            if inspect.isawaitable(answer):
                answer = await answer
        response = _response(answer)
        if ctx.streaming and response.message is not None:
            for piece in re.findall(r"\s*\S+|\s+$", response.message.text):
                ctx.send_chunk(ModelResponseChunk(content=[Part(text=piece)]))
        return response


def _response(answer: Any) -> ModelResponse:
    if isinstance(answer, ModelResponse):
        return answer
    if isinstance(answer, Message):
        return ModelResponse(message=answer, finish_reason="stop")
    items = answer if isinstance(answer, list) else [answer]
    return ModelResponse(message=Message.model([_part(item) for item in items]), finish_reason="stop")


def _part(item: Any) -> str | Part:
    return Part(tool_request=item) if isinstance(item, ToolRequest) else item
