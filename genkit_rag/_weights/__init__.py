"""Local model weights: pinned by hash, pulled by name into a cache folder, and never unasked."""

from genkit_rag._weights.cache import WeightsStatus, list_weights, models_folder, remove, verify, weights_path
from genkit_rag._weights.pull import Progress, Source, pull

__all__ = [
    "Progress",
    "Source",
    "WeightsStatus",
    "list_weights",
    "models_folder",
    "pull",
    "remove",
    "verify",
    "weights_path",
]
