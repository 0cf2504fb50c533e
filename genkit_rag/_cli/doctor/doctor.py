"""`genkit-rag doctor`: whether everything that is needed is here and works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from genkit_rag._cli.failures import FAILED
from genkit_rag._cli.options import DEFAULT_FOLDER, Folder, Json, examples
from genkit_rag._cli.output import Output, clean

if TYPE_CHECKING:
    from genkit_rag._cli.doctor.findings import Finding

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "broken": ("broken", "bold red")}


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", epilog=examples("genkit-rag doctor", "genkit-rag doctor --json"))(doctor)


def doctor(folder: Folder = DEFAULT_FOLDER, json: Json = False) -> None:
    """Check that all works.

    Looks at the installation, the weights, the providers, the stores, the traces and the apps; leaves with 1 when
    something is broken.
    """
    from genkit_rag._cli.doctor.checks import run_checks

    out = Output(json=json)
    findings = run_checks(folder)
    broken = [finding for finding in findings if finding.state == "broken"]
    if json:
        listed = [{"check": one.check, "state": one.state, "found": one.found, "fix": one.fix} for one in findings]
        out.data({"ok": not broken, "findings": listed})
    else:
        width = max(len(finding.check) for finding in findings) + 2
        for finding in findings:
            _show(finding, width, out)
        out.say(f"{len(broken)} broken." if broken else "Everything that is needed is here.")
    if broken:
        raise typer.Exit(FAILED)


def _show(finding: Finding, width: int, out: Output) -> None:
    from rich.text import Text

    mark, style = MARKS[finding.state]
    out.show(Text.assemble((mark.ljust(7), style), (clean(finding.check).ljust(width), "bold"), clean(finding.found)))
    if finding.fix:
        out.show(Text(f"fix: {clean(finding.fix)}", style="dim"), indent=7)
