"""Late interaction: every token of the query looks for its best match in the document. Local, no torch."""

from importlib.util import find_spec

from genkit_rag.plugin_api import MissingExtra
from genkit_rag_late_interaction._plugin import LateInteraction

for _package in ("onnxruntime", "tokenizers"):
    if find_spec(_package) is None:
        raise MissingExtra("late-interaction", _package)

__all__ = ["LateInteraction"]
