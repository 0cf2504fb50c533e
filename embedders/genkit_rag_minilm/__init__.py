"""The small local embedder: all-MiniLM-L6-v2 on ONNX Runtime, no torch, no server, no key."""

from genkit_rag.plugin_api import require_extra

with require_extra("minilm", "onnxruntime", "tokenizers"):  # checked here, imported at the first use
    from genkit_rag_minilm._plugin import MiniLM

__all__ = ["MiniLM"]
