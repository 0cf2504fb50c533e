"""The same workload through several libraries, as one Markdown table: `python -m benchmarks.peers --harness DIR`.

Every section of every library runs in a process of its own, libraries interleaved, medians over rounds. Process CPU is
the figure to trust on a shared machine; wall-clock columns carry whatever else it does.

    --harness  the folder with `common.py` and a `bench_<library>.py` for each peer
    --venvs    the folder with a virtual environment for each peer (default: `<harness>/../venvs`)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = ("plain", "langchain", "llamaindex", "haystack", "txtai")
SECTIONS = ("a_faiss", "b_retrieve", "b_async", "c_hybrid", "d_generate", "e_trace", "h_persist", "g_split")

ROWS: list[tuple[str, str, tuple[str, ...], str]] = [
    # label, section, paths (the first that is there; `*` takes the best of all), format
    ("ingest 20k, docs/s", "a_faiss", ("docs_s",), "{:,.0f}"),
    ("… CPU s", "a_faiss", ("cpu_s",), "{:.2f}"),
    ("… memory growth, MB", "a_faiss", ("rss_delta_mb",), "{:,.0f}"),
    ("retrieve k=10 of 20k, p50 µs", "b_retrieve", ("default/p50_us",), "{:,.0f}"),
    ("… CPU µs", "b_retrieve", ("default/cpu_us",), "{:,.0f}"),
    ("… of 200 documents, CPU µs", "b_retrieve", ("tiny_default/cpu_us",), "{:,.0f}"),
    ("5 % filter, as it comes: hits of 10", "b_retrieve", ("filter/mean_hits",), "{:.2f}"),
    ("… p50 µs", "b_retrieve", ("filter/p50_us",), "{:,.0f}"),
    ("… made exact, p50 µs", "b_retrieve", ("exact",), "{:,.0f}"),
    ("32 at a time, queries/s", "b_async", ("*_c32/qps",), "{:,.0f}"),
    ("64 with a 20 ms embedder, 32 at a time, ms", "b_async", ("*_embed20ms/wall_ms",), "{:,.0f}"),
    ("… longest stall of the event loop, ms", "b_async", ("*_embed20ms/max_stall_ms",), "{:,.0f}"),
    ("hybrid: setup s", "c_hybrid", ("setup_s",), "{:.1f}"),
    ("… p50 µs", "c_hybrid", ("p50_us",), "{:,.0f}"),
    ("… CPU µs", "c_hybrid", ("cpu_us",), "{:,.0f}"),
    ("one turn, CPU µs", "d_generate", ("gen_plain/cpu_us",), "{:,.0f}"),
    ("one tool round trip, CPU µs", "d_generate", ("gen_tool/cpu_us",), "{:,.0f}"),
    ("8 tools of 50 ms, async, ms", "d_generate", ("par8_async/wall_ms",), "{:,.0f}"),
    ("8 tools of 50 ms, sync, ms", "d_generate", ("par8_sync/wall_ms",), "{:,.0f}"),
    ("stream, µs a chunk", "d_generate", ("stream/us_per_chunk",), "{:.1f}"),
    ("traced retrieve, CPU µs", "e_trace", ("retrieve_on/cpu_us",), "{:,.0f}"),
    ("save, ms", "h_persist", ("save_ms",), "{:,.0f}"),
    ("load, ms", "h_persist", ("load_ms",), "{:,.0f}"),
    ("delete 100, ms", "h_persist", ("delete100_ms",), "{:,.1f}"),
    ("split 1000/200, MB/s of CPU", "g_split", ("*/cpu_mb_s",), "{:,.1f}"),
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--harness", type=Path, default=ROOT.parent / "shared" / "benchmarks")
    arguments.add_argument("--venvs", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--sections", default=",".join(SECTIONS))
    arguments.add_argument("--quick", action="store_true", help="2,000 documents: to see that everything runs")
    given = arguments.parse_args()
    if not (given.harness / "common.py").exists():
        sys.exit(f"There is no harness in {given.harness}: nothing was measured. Name its folder with --harness.")
    venvs = given.venvs or given.harness.parent / "venvs"
    commands = {"genkit_rag": [sys.executable, str(ROOT / "benchmarks" / "peer.py")]}
    for peer in PEERS:
        python = venvs / peer / "bin" / "python"
        if python.exists():
            commands[peer] = [str(python), str(given.harness / f"bench_{peer}.py")]
        else:
            print(f"left out: {peer} (no {python})", file=sys.stderr)
    results = measure(commands, given.harness, given.sections.split(","), given.rounds, given.quick)
    print(table(results, [peer for peer in (*PEERS, "genkit_rag") if peer in commands], given.rounds))


def measure(
    commands: dict[str, list[str]], harness: Path, sections: list[str], rounds: int, quick: bool
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    results: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    environment = {**os.environ, "PYTHONPATH": f"{harness}:{ROOT}", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for round_ in range(rounds):
        for section in sections:
            for peer, command in commands.items():
                with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as out:
                    full = [*command, "--section", section, "--round", str(round_), "--out", out.name]
                    try:
                        subprocess.run(
                            full + ["--quick"] * quick, cwd=harness, env=environment, capture_output=True, timeout=420
                        )
                    except subprocess.TimeoutExpired:
                        print(f"round {round_} {section} {peer}: over 420 s", file=sys.stderr)
                        continue
                    lines = [json.loads(line) for line in out]
                status = lines[-1]["status"] if lines else "crashed"
                print(f"round {round_} {section} {peer}: {status}", file=sys.stderr, flush=True)
                if status == "ok":
                    results[section, peer].append(lines[-1]["r"])
                elif status == "error":
                    print(lines[-1]["r"]["error"][-300:], file=sys.stderr)
    return results


def table(results: dict[tuple[str, str], list[dict[str, Any]]], peers: list[str], rounds: int) -> str:
    lines = ["| | " + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    for label, section, paths, shape in ROWS:
        cells = []
        for peer in peers:
            values = [value for run in results[section, peer] if (value := figure(run, paths)) is not None]
            cells.append(shape.format(statistics.median(values)) if values else "–")
        if set(cells) != {"–"}:
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Medians of {rounds} rounds."])


def figure(run: dict[str, Any], paths: tuple[str, ...]) -> float | None:
    for path in paths:
        if path == "exact":  # the fastest way of filtering that gave all ten
            filters = [value for name, value in run.items() if name.startswith("filter_")]
            found = [one["p50_us"] for one in filters if one.get("mean_hits") == 10 and one.get("recall10") == 1]
        else:
            name, _, key = path.partition("/")
            if name == "filter":  # the first way that the peer's script names is the one that its users meet
                name = next((one for one in run if one.startswith("filter_")), name)
            if "*" in name:
                found = [value[key] for one, value in run.items() if one.endswith(name[1:]) and key in (value or {})]
                found = [max(found) if key in ("qps", "cpu_mb_s") else min(found)] if found else []
            else:
                value = run.get(name)
                found = [value[key] if key else value] if value and (not key or key in value) else []
        if found:
            return float(min(found))
    return None


if __name__ == "__main__":
    main()
