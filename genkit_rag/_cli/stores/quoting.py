"""Restrict a model's answer to a sentence of the passages.

The embedded model has 135 million parameters: its free text is fluent and wrong. Given the sentences nearest to the
question, and a grammar that allows nothing else, it selects one and cites its passage.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genkit_rag._ai.genkit import Genkit
    from genkit_rag._documents.document import Document

CANDIDATES = 3
"""How many sentences the model chooses from."""

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])")
_NOT_PROSE = ("```", "~~~", "|", "#", "<", "    ")


def sentences(text: str) -> list[str]:
    """Return the sentences of a text's prose, without headings, tables and code, with 20 to 400 characters."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        if not paragraph.lstrip("\n").startswith(_NOT_PROSE):
            found += _SENTENCE_END.split(" ".join(paragraph.split()))
    return [sentence for sentence in found if 20 <= len(sentence) <= 400]


async def quote_config(ai: Genkit, embedder: str, question: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Return the model config that allows only the nearest sentences, with their keys; `{}` if there are none."""
    import numpy as np

    candidates = [
        (number, sentence) for number, document in enumerate(documents, 1) for sentence in sentences(document.text)
    ]
    if not candidates:
        return {}
    query = (await ai.embed(embedder, question, {"task": "query"}))[0].embedding
    rows = await ai.embed_many(embedder, [sentence for _, sentence in candidates])
    nearness = np.array([row[0].embedding for row in rows]) @ np.array(query)
    nearest = np.argsort(-nearness)[:CANDIDATES].tolist()
    choices = [f"{sentence} [{number}]" for number, sentence in (candidates[row] for row in nearest)]
    # A string of GBNF (llama.cpp's grammar language) is written as one of JSON.
    return {"grammar": "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)}
