"""Runs the performance suite and prints every figure beside its bar: `python -m benchmarks.run [SECTION ...]`.

Sections: startup, split, retrieve, generate, quality (collections in BEIR layout, in ../shared/data or by `--data`).
Exit code 1 when a bar is missed. What takes long, or other libraries, has commands of its own: `benchmarks.quality`,
`benchmarks.peers`, `benchmarks.scale`, `make faults`; `benchmarks/RESULTS.md` has their figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

# One thread for every engine: two threads for one query cost more than they give.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

SECTIONS = ("startup", "split", "retrieve", "generate", "quality")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=[], metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument(
        "--data", nargs="*", type=Path, default=[], help="folders with corpus.jsonl, queries.jsonl, qrels"
    )
    parser.add_argument("-n", type=int, default=20_000, help="documents of the retrieve section")
    args = parser.parse_args()
    wanted = args.sections or [s for s in SECTIONS if s != "quality" or args.data]
    if len(wanted) == 1:
        return 1 if _section(wanted[0], args) else 0
    # A process for each: what one section loads, installs or leaves behind must not be in the figures of the next.
    rest = ["-n", str(args.n), *(["--data", *map(str, args.data)] if args.data else [])]
    codes = [subprocess.call([sys.executable, "-m", "benchmarks.run", section, *rest]) for section in wanted]
    return max(codes)


def _section(section: str, args: argparse.Namespace) -> int:
    from benchmarks.workload import Report

    report = Report(section)
    if section == "startup":
        from benchmarks import startup

        startup.run(report)
    elif section == "split":
        from benchmarks import split

        split.run(report)
    elif section == "retrieve":
        from benchmarks import retrieve

        asyncio.run(retrieve.run(report, args.n))
    elif section == "generate":
        from benchmarks import generate

        asyncio.run(generate.run(report))
    elif section == "quality":
        from benchmarks import quality

        return quality.run(args.data)
    else:
        sys.exit(f"Unknown section {section!r}: {', '.join(SECTIONS)}")
    return report.show()


if __name__ == "__main__":
    sys.exit(main())
