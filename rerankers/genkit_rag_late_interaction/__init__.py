"""Late interaction: every token of the query looks for its best match in the document. Local, no torch."""

from genkit_rag.plugin_api import require_extra

with require_extra("late-interaction", "onnxruntime", "tokenizers"):  # checked here, imported at the first use
    from genkit_rag_late_interaction._plugin import LateInteraction

__all__ = ["LateInteraction"]
