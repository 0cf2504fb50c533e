"""The reflection API: how Genkit's tools and ours see and run the actions of an app under development."""

from genkit_rag._server.reflection.core import Reflection
from genkit_rag._server.reflection.lifecycle import DevRuntime, connect_to, in_dev, started_by_tools
from genkit_rag._server.reflection.runs import InputStream, Run, RunRequest
from genkit_rag._server.reflection.waiting import hold, leave_politely, wait_for_loop

__all__ = [
    "DevRuntime",
    "InputStream",
    "Reflection",
    "Run",
    "RunRequest",
    "connect_to",
    "hold",
    "in_dev",
    "leave_politely",
    "started_by_tools",
    "wait_for_loop",
]
