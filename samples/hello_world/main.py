"""Index three sentences, find the right one, answer from it. No key; no network once the weights are pulled."""

import tempfile

from genkit_rag import Genkit
from genkit_rag.local import Faiss, LlamaCpp, MiniLM

ai = Genkit(plugins=[MiniLM(), Faiss(path=tempfile.mkdtemp()), LlamaCpp()], model="llama-cpp/smollm2-135m")


async def main() -> None:
    await ai.index("faiss/docs", ["Returns are free for a month.", "The warranty covers two years from purchase."])
    docs = await ai.retrieve("faiss/docs", "How long is the warranty?", {"k": 1})
    answer = await ai.generate("How long is the warranty?", docs=docs)
    print(f"{answer.text}\n\nFrom: {docs[0].text} (score {docs[0].score:.2f})")


ai.run_main(main())
