"""`genkit-rag flow`: run actions of a running app, or of one started for it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genkit_rag._cli.apps import flow_batch
from genkit_rag._cli.apps.completion import complete_action
from genkit_rag._cli.apps.connect import Wanted, action_key, connected, no_action
from genkit_rag._cli.apps.dev_folder import DevFolder, dev_folder
from genkit_rag._cli.apps.programs import CommandWithProgram, program_of, run_until_signal
from genkit_rag._cli.apps.runs import Request, Wait, failed, pieces
from genkit_rag._cli.inputs import NotJson, for_schema, json_object, read_input
from genkit_rag._cli.options import Json, examples
from genkit_rag._cli.output import Output, one_line, to_json

app = typer.Typer(
    help="Run flows, and any other action, of an app.",
    epilog=examples("genkit-rag flow list", """genkit-rag flow run answer '{"question": "..."}'"""),
    rich_markup_mode=None,
)


@app.command(
    cls=CommandWithProgram,
    epilog=examples(
        """genkit-rag flow run answer '{"question": "How are tokens renewed?"}' --stream""",
        "genkit-rag flow run answer @question.json --json -- python app.py",
        """genkit-rag flow run /retriever/faiss/docs '{"query": {"content": [{"text": "tokens"}]}}'""",
    ),
)
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A flow's name, or an action's key.", autocompletion=complete_action)],
    input: Annotated[str | None, typer.Argument(help="JSON, @FILE with JSON, or - for stdin.")] = None,
    stream: Annotated[bool, typer.Option("--stream", "-s", help="Print chunks as they come.")] = False,
    action_context: Annotated[
        str | None, typer.Option("--context", help="""What the action finds as its context, as a JSON object.""")
    ] = None,
    wait: Wait = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """Run an action and print what it returns.

    What is no JSON is taken as text where the action's input is a text. The trace's id goes to stderr.
    """
    request = Request(name, read_input(input), json_object(action_context, "--context"), stream)
    wanted = Wanted(program_of(context), wait, dev_folder(folder))
    run_until_signal(_run(wanted, request, Output(json=json)))


@app.command(
    "list",
    cls=CommandWithProgram,
    epilog=examples("genkit-rag flow list", "genkit-rag flow list --all --json -- python app.py"),
)
def list_(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="List every action, by key.")] = False,
    wait: Wait = False,
    folder: DevFolder = None,
    json: Json = False,
) -> None:
    """List the flows of an app."""
    wanted = Wanted(program_of(context), wait, dev_folder(folder))
    run_until_signal(_list(wanted, Output(json=json), everything=all))


flow_batch.register(app)


async def _list(wanted: Wanted, out: Output, *, everything: bool) -> None:
    async with connected(wanted, out) as runtimes:
        found = await runtimes.list_actions()
    kept = {key: one for key, one in sorted(found.items()) if everything or key.startswith("/flow/")}
    if out.json:
        out.data({"actions": list(kept.values())})
    elif not kept:
        out.say("The app has no flows. See every action with --all.")
    else:
        names = (key if everything else key.removeprefix("/flow/") for key in kept)
        rows = [
            [name, one_line(str(one.get("description") or ""))] for name, one in zip(names, kept.values(), strict=True)
        ]
        out.table(["action" if everything else "flow", "what it does"], rows)


async def _run(wanted: Wanted, request: Request, out: Output) -> None:
    async with connected(wanted, out) as runtimes:
        actions = await runtimes.list_actions()
        key = action_key(request.action, actions)
        if key not in actions and isinstance(request.input, NotJson):
            raise no_action(request.action, actions)
        value = for_schema(request.input, actions.get(key, {}).get("inputSchema"))
        printed = ""
        trace_id = ""
        events = runtimes.run(key, value, stream=request.stream, context=request.context)
        try:
            async for event in pieces(events, key, request, actions):
                trace_id = event.get("traceId") or trace_id
                if "chunk" in event:
                    printed += _print_chunk(event["chunk"], out)
                elif "error" in event:
                    _end_line(printed, out)
                    raise failed(key, event["error"], trace_id)
                elif "result" in event:
                    _end_line(printed, out)
                    _print_result(key, event["result"], trace_id, printed, out, stream=request.stream)
        finally:
            if trace_id:
                out.say(f"trace {trace_id}  (genkit-rag trace show {trace_id[:8]})")
            await events.aclose()


def _print_chunk(chunk: Any, out: Output) -> str:
    """Print a chunk; return its text, or a marker for data printed as lines."""
    if out.json:
        out.row({"chunk": chunk})
        return ""
    text = text_of(chunk)
    if text is None:
        out.row(chunk)
        return ""
    out.write(text)
    return text


def _end_line(printed: str, out: Output) -> None:
    if printed and not printed.endswith("\n"):
        out.write("\n")


def _print_result(key: str, result: Any, trace_id: str, printed: str, out: Output, *, stream: bool) -> None:
    data = {"key": key, "result": result, "traceId": trace_id}
    if out.json:
        out.row(data) if stream else out.data(data)
        return
    text = text_of(result)
    if text is not None and text.strip() == printed.strip() and printed:
        return  # it has been read already
    if isinstance(result, str):
        out.line(result)
    else:
        out.line(to_json(result))


def text_of(value: Any) -> str | None:
    """Return the text of a string, of a model's chunk or of its response; None for other data."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    message = value.get("message")
    content = (message if isinstance(message, dict) else value).get("content")
    if not isinstance(content, list) or not all(isinstance(part, dict) and "text" in part for part in content):
        return None
    return "".join(str(part["text"]) for part in content)
