"""What an import costs, in fresh processes, beside a bare pydantic model."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.workload import Report

_MEASURE = """
import sys, time
start = time.process_time()
{}
print(time.process_time() - start)
print("numpy" in sys.modules)
"""
_HELP = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    from genkit_rag._cli.app import run
    run(["--help"])
"""
_BARE = "import pydantic; pydantic.create_model('M', x=(int, ...))"


def _cpu(statement: str) -> tuple[float, bool]:
    # As installed: with bytecode, which the first of the runs writes.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _MEASURE.format(statement)]
    runs = []
    numpy = False
    for _ in range(6):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        seconds, flag = done.stdout.split()
        runs.append(float(seconds) * 1e3)
        numpy = flag == "True"
    return min(runs[1:]), numpy


def run(report: Report) -> None:
    bare, _ = _cpu(_BARE)
    ours, numpy = _cpu("from genkit_rag import Genkit")
    report.add("import of a bare pydantic model, CPU", f"{bare:.0f} ms")
    report.add(
        "from genkit_rag import Genkit, CPU", f"{ours:.0f} ms ({ours / bare:.2f}x)", "<= 300 ms", holds=ours <= 300
    )
    report.add("... loads numpy", str(numpy), "False", holds=not numpy)
    command, _ = _cpu(_HELP)
    report.add("genkit-rag --help, CPU", f"{command:.0f} ms", "<= 150 ms", holds=command <= 150)
