"""Crash and damage sweeps over the durable store.

    python benchmarks/faults.py                   # SIGKILL at every storage system call of the workload
    python benchmarks/faults.py --fault EIO       # the call fails instead; also ENOSPC
    python benchmarks/faults.py --every 10        # a share of the points
    python benchmarks/faults.py --nested 100      # SIGKILL at a random call, and again while the next process recovers
    python benchmarks/faults.py --power 500       # the power fails: what was not synced is gone in part, and torn
    python benchmarks/faults.py --corrupt 2000    # seeded damage to the files of stores

The workload (three namespaces: upserts with overwrites, deletions by id and by filter, searches by words, compactions,
a change of the embedder, closing and opening) runs in a forked child under `strace -e inject=...`; acknowledgements are
recorded through a shared mapping, which costs no system call. After each fault a fresh process opens the store: its
state must be that of the acknowledged steps or one more, with the old vectors or the new ones; `verify` must be clean;
every stored vector must be found as by brute force, and every document by its id, by filters, and by its words; a
further write must work. After damage each question must be answered rightly or refused. Exit code 1 when anything was
lost or wrong.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.faults_damage import corrupt
from benchmarks.faults_model import vectors
from benchmarks.faults_power import power
from benchmarks.faults_sweep import nested, sweep


def main() -> None:
    parser = argparse.ArgumentParser(description="Crash and damage sweeps over the durable store.")
    parser.add_argument("--fault", choices=["KILL", "EIO", "ENOSPC"], default="KILL")
    parser.add_argument("--every", type=int, default=1, help="take every n-th point")
    parser.add_argument("--nested", type=int, default=0, metavar="N", help="kill twice, N times, instead")
    parser.add_argument("--power", type=int, default=0, metavar="N", help="let the power fail N times instead")
    parser.add_argument("--corrupt", type=int, default=0, metavar="N", help="damage files N times instead")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    vectors("", [("d1", 1)], 0)  # what is imported at its first use is imported before a fault could hit it
    started = time.monotonic()
    memory = Path("/dev/shm")  # what is tested is which calls are made, in which order: no disk is needed for that
    work = Path(tempfile.mkdtemp(prefix="faults", dir=memory if memory.is_dir() else None))
    try:
        if arguments.corrupt:
            bad = corrupt(work, arguments.corrupt, arguments.seed)
        elif shutil.which("strace") is None:
            raise SystemExit("strace is needed: apt-get install strace")
        elif arguments.nested:
            bad = nested(work, arguments.nested, arguments.seed)
        elif arguments.power:
            bad = power(work, arguments.power, arguments.seed)
        else:
            bad = sweep(work, arguments.fault, arguments.every, arguments.seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
