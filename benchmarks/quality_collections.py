"""Collections in BEIR layout, and how a ranking is scored on them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from genkit_rag import Document
from genkit_rag.ingest import Splitter

NAMES = ("techfaq_dev", "pgindex", "semanlink")
"""Frequently asked questions, pages of a manual asked for by their index, and notes asked for by their tags."""

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where they are looked for when none are named."""


class Collection:
    """Documents, queries and judgements."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.documents = [
            Document(f"{row['title']}\n\n{row['text']}" if row.get("title") else row["text"], id=row["_id"])
            for row in _lines(folder / "corpus.jsonl")
        ]
        self.judged: dict[str, dict[str, int]] = {}
        for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, gain = line.split("\t")
            self.judged.setdefault(query, {})[document] = int(gain)
        self.queries = {
            row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl") if row["_id"] in self.judged
        }

    @cached_property
    def chunks(self) -> list[Document]:
        """The documents in pieces of the default splitter; `owner` in the metadata is the document's id."""
        splitter = Splitter()
        return [
            Document(chunk.text, {"owner": document.id}, id=f"{document.id}#{number}")
            for document in self.documents
            for number, chunk in enumerate(splitter.chunks(document.text))
        ]


def found(folders: Sequence[Path]) -> list[Path]:
    """Returns the folders, or the known ones beside the checkout; says which are not there and leaves them out."""
    wanted = list(folders) or [DATA / name for name in NAMES]
    there = [folder for folder in wanted if (folder / "corpus.jsonl").is_file()]
    for folder in wanted:
        if folder not in there:
            print(
                f"There is no collection in {folder}: left out. Name folders in BEIR layout "
                "(corpus.jsonl, queries.jsonl, qrels/test.tsv) to measure on them."
            )
    return there


def best_of_owners(units: Sequence[str], owners: dict[str, str]) -> list[str]:
    """Returns the documents of the units, each where its best unit is."""
    return list(dict.fromkeys(owners.get(unit, unit) for unit in units))


def ndcg(ranking: Sequence[str], gains: dict[str, int], k: int = 10) -> float:
    """Returns nDCG with the gains of the judgements and log2 discounts (Jarvelin and Kekalainen 2002)."""
    gained = sum(gains.get(id_, 0) / math.log2(rank + 2) for rank, id_ in enumerate(ranking[:k]))
    ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(sorted(gains.values(), reverse=True)[:k]))
    return gained / ideal if ideal else 0.0


def recall(ranking: Sequence[str], gains: dict[str, int], k: int = 100) -> float:
    """Returns which share of the relevant documents is among the first."""
    relevant = {id_ for id_, gain in gains.items() if gain > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
