"""Index three sentences, find the right one, answer from it. No key; no network once the weights are pulled."""

import tempfile

from genkit_rag import Genkit
from genkit_rag.local import Faiss, LlamaCpp, MiniLM

ai = Genkit(plugins=[MiniLM(), Faiss(path=tempfile.mkdtemp()), LlamaCpp()], model="llama-cpp/smollm2-135m")


async def main() -> None:
    await ai.index("faiss/docs", ["Lunch is at noon.", "The office opens at nine.", "The office closes at six."])
    docs = await ai.retrieve("faiss/docs", "When can I eat?", {"k": 1})
    answer = await ai.generate("When can I eat?", docs=docs)
    print(f"{answer.text}\n\nFrom: {docs[0].text} (score {docs[0].score:.2f})")


ai.run_main(main())
