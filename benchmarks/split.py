"""Splitting speed: prose in pieces of 100,000 characters, chunks of 1,000 with 200 overlap, exact offsets."""

from __future__ import annotations

import random
import time
from pydoc_data import topics

from benchmarks.workload import Report
from genkit_rag.ingest import split_text


def prose(size: int = 20_000_000) -> list[str]:
    """About `size` characters of the Python language reference, shuffled by paragraph with a fixed seed."""
    paragraphs = [p for value in topics.topics.values() for p in value.split("\n\n") if p.strip()]
    rng, out, total = random.Random(3), [], 0
    while total < size:
        rng.shuffle(paragraphs)
        out += paragraphs
        total += sum(len(p) + 2 for p in paragraphs)
    text = "\n\n".join(out)[:size]
    return [text[i : i + 100_000] for i in range(0, len(text), 100_000)]


def run(report: Report) -> None:
    texts = prose()
    split_text(texts[0], size=1000, overlap=200)
    start, count, exact = time.process_time(), 0, True
    chunks = [split_text(text, size=1000, overlap=200) for text in texts]
    cpu = time.process_time() - start
    for text, found in zip(texts, chunks, strict=True):
        count += len(found)
        exact &= all(text[c.start : c.end] == c.text for c in found)
    rate = sum(map(len, texts)) / 1e6 / cpu
    report.add("split 20 MB of prose, CPU", f"{rate:.0f} MB/s, {count} chunks", ">= 100 MB/s", holds=rate >= 100)
    report.add("every offset is exact", str(exact), "True", holds=exact)
