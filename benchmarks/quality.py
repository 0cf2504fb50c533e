"""Retrieval quality on collections in BEIR layout, as Markdown: every mode, fusion and local reranker, and the peers.

`python -m benchmarks.quality [FOLDER ...] [--cache FOLDER] [--venvs FOLDER]`: nDCG@10, recall@100 and latency of each
system, and by how much it is ahead of the default hybrid. The peers are other libraries' hybrid searches over the same
texts and vectors; each is run in its own virtual environment, `VENVS/<library>`. Exit code 1 when the default hybrid is
not ahead of both legs, of RRF and of every peer on each collection, or no reranking is ahead of it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality_collections import Collection, found
from benchmarks.quality_systems import DEFAULT, MODES, RERANKED, Bench, Measured, bench
from benchmarks.quality_table import Row, mean_table, row, table

PEERS = ("langchain", "llamaindex", "haystack", "txtai")
PEER = Path(__file__).with_name("quality_peers.py")


@dataclass(frozen=True)
class Settings:
    """What a run needs beside the collections.

    Attributes:
        cache: Keeps vectors of documents and tokens, and the peers' answers, between runs.
        venvs: Holds a virtual environment for each peer; None leaves the peers out.
        chunked: Whether documents are also measured in chunks.
    """

    cache: Path
    venvs: Path | None = None
    chunked: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="by default ../shared/data/* beside the checkout")
    parser.add_argument("--cache", type=Path, help="keeps vectors between runs")
    parser.add_argument("--venvs", type=Path, help="holds a virtual environment for each peer")
    parser.add_argument("--no-chunks", action="store_true", help="whole documents only")
    given = parser.parse_args()
    return run(given.folders, given.cache, given.venvs, chunked=not given.no_chunks)


def run(folders: Sequence[Path], cache: Path | None = None, venvs: Path | None = None, *, chunked: bool = True) -> int:
    """Prints the tables; returns 1 when the default hybrid or the best reranking is not ahead as it should be."""
    collections = [Collection(folder) for folder in found(folders)]
    if not collections:
        print("There is no collection: nothing was measured.")
        return 1
    with ExitStack() as stack:
        if cache is None:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genkit_rag_quality_")))
        cache.mkdir(parents=True, exist_ok=True)
        settings = Settings(cache, venvs, chunked)
        tables = [asyncio.run(_collection(collection, settings)) for collection in collections]
    if len(tables) > 1:
        print(f"\n## Mean of {len(tables)} collections\n\n{mean_table(tables)}")
    misses = [f"{c.name}: {miss}" for c, rows in zip(collections, tables, strict=True) for miss in missed(rows)]
    print("".join(f"\nMISSED: {miss}" for miss in misses) or "\nAll bars are met.")
    return 1 if misses else 0


def missed(rows: Sequence[Row]) -> list[str]:
    """Returns what is wrong: the default not ahead of a leg, RRF or a peer, no reranking ahead of the default."""
    default = next(row.ndcg for row in rows if row.name == DEFAULT)
    below = [name for name in MODES if name != DEFAULT]
    found = [
        f"the default hybrid ({default:.3f}) is not ahead of {row.name} ({row.ndcg:.3f})"
        for row in rows
        if (row.name in below or row.name.startswith(PEERS)) and row.ndcg >= default
    ]
    best = max(row.ndcg for row in rows if row.name in RERANKED)
    return found if best > default else [*found, f"no reranking ({best:.3f}) is ahead of the default ({default:.3f})"]


async def _collection(collection: Collection, settings: Settings) -> list[Row]:
    counts = f"{len(collection.documents)} documents, {len(collection.queries)} queries"
    print(f"\n## {collection.name}: {counts}", flush=True)
    async with bench(collection, settings.cache, chunked=False) as whole:
        embedding = await whole.embedding_ms()
        measured = [await whole.mode(name) for name in MODES]
        await whole.warm()
        measured += [await whole.reranked(name) for name in RERANKED]
        measured += await _peers(whole, settings)
    if settings.chunked:
        async with bench(collection, settings.cache, chunked=True) as chunks:
            print(f"\nIn {len(chunks.units)} chunks; a document is where its best chunk is.")
            measured += [await chunks.mode(name, f"chunks: {name}") for name in MODES]
    rows = [row(one, collection) for one in measured]
    print(f"\nEmbedding a query takes {embedding:.1f} ms; the peers' times are without it.\n")
    print(table(rows), flush=True)
    return rows


async def _peers(bench: Bench, settings: Settings) -> list[Measured]:
    if settings.venvs is None:
        return []
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="genkit_rag_quality_") as name:
        await bench.export(Path(name))
        for peer in PEERS:
            venv = settings.venvs / peer
            if (venv / "bin" / "python").exists():
                measured += _peer(venv, Path(name), settings.cache)
            else:
                print(f"left out: {peer} (no {venv})", file=sys.stderr)
    return measured


def _peer(venv: Path, folder: Path, cache: Path) -> list[Measured]:
    """Returns each variant of a peer. Its answers are kept: they change with the texts, the script or its packages."""
    packages = sorted(path.name for path in venv.glob("lib/*/site-packages/*.dist-info"))
    parts = [(folder / "texts.json").read_bytes(), PEER.read_bytes(), json.dumps(packages).encode()]
    out = cache / f"{venv.name}-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}.json"
    if not out.exists():
        fresh = folder / "out.json"
        command = [str(venv / "bin" / "python"), str(PEER), venv.name, str(folder), str(fresh)]
        # In its own folder: nothing that lies in the current one may be imported for what is in the environment.
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            print(f"left out: {venv.name} failed: {done.stderr.strip()[-600:]}", file=sys.stderr)
            return []
        shutil.move(fresh, out)
    variants = json.loads(out.read_text(encoding="utf-8"))
    return [
        Measured(f"{venv.name}: {name}", {id_: units for id_, units, _ in rows}, [lap for *_, lap in rows])
        for name, rows in variants.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
