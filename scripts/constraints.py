"""Write `constraints.txt`: the exact versions that CI installs, for every supported Python version.

Run it with `make constraints`. Arguments are passed to `uv pip compile`, for example `--resolution lowest-direct`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = (
    "# Exact versions of every dependency, tested together. Renew with `make constraints`.\n"
    "# Usage: pip install -c constraints.txt ...\n"
)
# On Linux, torch names its GPU libraries as dependencies. A CPU build needs none of them.
GPU_LIBRARIES = re.compile(r"^(nvidia-|triton|cuda-)")
GROUPS = ("dev", "docs")


def resolve(arguments: list[str]) -> str:
    """Return the pinned requirements of all extras and dependency groups."""
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate", "-q"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--all-extras", "pyproject.toml"]
    for group in GROUPS:
        command += ["--group", group]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    """Resolve the dependencies and write them to `constraints.txt`, or to the file that `--output` names."""
    arguments = sys.argv[1:]
    target = ROOT / "constraints.txt"
    if "--output" in arguments:
        at = arguments.index("--output")
        target = Path(arguments[at + 1])
        del arguments[at : at + 2]
    lines = [line for line in resolve(arguments).splitlines() if line and not GPU_LIBRARIES.match(line)]
    target.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
