"""Ingest a folder, look in two ways at once, rerank, answer with checked citations.

    python samples/rag/main.py PATH "QUESTION"

Without arguments it reads this repository's documentation. Run it twice: the second run embeds nothing.
"""

import re
import sys
from pathlib import Path

from genkit_rag import Document, Genkit
from genkit_rag.local import Faiss, LateInteraction, LlamaCpp, MiniLM

DOCS = Path(__file__).parents[2] / "docs"

ai = Genkit(
    plugins=[MiniLM(), Faiss(["docs"], path=".genkit_rag/sample"), LateInteraction(), LlamaCpp()],
    model="llama-cpp/smollm2-135m",
)


def sentences(documents: list[Document]) -> list[Document]:
    """The sentences of the passages, each with the key of its passage."""
    found: list[Document] = []
    for number, document in enumerate(documents, 1):
        pieces = [" ".join(piece.split()) for piece in re.split(r"(?<=[.!?])\s|\n\s*\n", document.text)]
        found += [Document(f"{piece} [{number}]") for piece in pieces if re.fullmatch(r"[A-Z][^|#`]+[.!?]", piece)]
    return found


async def main(path: str, question: str) -> None:
    report = await ai.ingest(path, indexer="faiss/docs")
    print(f"{report.chunks_added} chunks embedded, {report.unchanged} files unchanged")

    # Words and meaning, joined by their scores; then the best twenty in the order of their token-level match.
    found = await ai.retrieve("faiss/docs", question, {"k": 20, "mode": "hybrid"})
    best = await ai.rerank("late-interaction/all-minilm-l6-v2", question, found, {"k": 4})
    for document in best:
        print(f"  {document.score:.3f}  {document.metadata['source']}  {document.metadata.get('heading_path', '')}")

    # This model is too small to write by itself: it may only choose one of the three nearest sentences, and it cites
    # them. Any other model takes `docs=best` alone.
    nearest = await ai.rerank("late-interaction/all-minilm-l6-v2", question, sentences(best), {"k": 3})
    choices = {"type": "string", "enum": [sentence.text for sentence in nearest]}
    answer = await ai.generate(
        question,
        docs=best,
        config={"temperature": 0},
        output_format="enum",
        output_schema=choices,
        output_instructions=False,
    )
    print(f"\n{answer.output}")
    for citation in answer.citations:
        print(f"  [{citation.key}] {citation.document.metadata['source']}")
    if answer.citations.unknown:
        print(f"  Named by the model, but no passage: {answer.citations.unknown}")


if __name__ == "__main__":
    folder, *rest = sys.argv[1:] or [str(DOCS)]
    ai.run_main(main(folder, rest[0] if rest else "What happens when the process is killed during a write?"))
