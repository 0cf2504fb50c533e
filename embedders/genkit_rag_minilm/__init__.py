"""The small local embedder: all-MiniLM-L6-v2 on ONNX Runtime, no torch, no server, no key."""

from importlib.util import find_spec

from genkit_rag.plugin_api import MissingExtra
from genkit_rag_minilm._plugin import MiniLM

for _package in ("onnxruntime", "tokenizers"):
    if find_spec(_package) is None:
        raise MissingExtra("minilm", _package)

__all__ = ["MiniLM"]
