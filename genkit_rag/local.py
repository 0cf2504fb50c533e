"""The embedded plugins in one import: no key, and no network once the weights were pulled."""

from genkit_rag_faiss import Faiss
from genkit_rag_late_interaction import LateInteraction
from genkit_rag_llama_cpp import LlamaCpp
from genkit_rag_minilm import MiniLM

__all__ = ["Faiss", "LateInteraction", "LlamaCpp", "MiniLM"]
