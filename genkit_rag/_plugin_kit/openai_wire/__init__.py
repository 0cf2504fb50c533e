"""OpenAI's chat wire format, for requests and responses of the plugins whose servers and runtimes use it.

The protocol: https://platform.openai.com/docs/api-reference/chat. These modules open no connections.
"""

from genkit_rag._plugin_kit.openai_wire.output import is_held, response_format
from genkit_rag._plugin_kit.openai_wire.request import chat_body, chat_messages, text_of
from genkit_rag._plugin_kit.openai_wire.response import ChatStream, chat_response
from genkit_rag._plugin_kit.openai_wire.tools import (
    function_tools,
    json_text,
    tool_arguments,
    tool_input,
    tool_result,
    wrapped_tools,
)

__all__ = [
    "ChatStream",
    "chat_body",
    "chat_messages",
    "chat_response",
    "function_tools",
    "is_held",
    "json_text",
    "response_format",
    "text_of",
    "tool_arguments",
    "tool_input",
    "tool_result",
    "wrapped_tools",
]
