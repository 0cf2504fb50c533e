"""What may be set beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from genkit_rag.plugin_api import WireModel, invalid, plugin_options


class LlmRerankerOptions(WireModel):
    """How a model is asked.

    Attributes:
        max_tokens: Tokens of one prompt at most, estimated at four characters each. When the passages do not fit, the
            window gets smaller; when two do not, they are cut.
        passage_tokens: Of longer passages only the beginning is shown.
        window: Passages that the model orders at once (20 in Sun et al. 2023).
        stride: By how many the window moves forward (10 there); what is best in one window goes on to the next.
        on_error: When a model call fails or its answer names no passage: `raise`, or `keep` the earlier order of the
            window, with a warning in the log.
    """

    max_tokens: int = Field(default=6000, ge=200)
    passage_tokens: int = Field(default=300, ge=1)
    window: int = Field(default=20, ge=2)
    stride: int = Field(default=10, ge=1)
    on_error: Literal["raise", "keep"] = "raise"


def llm_reranker_options(given: Mapping[str, Any]) -> LlmRerankerOptions:
    """Returns checked options; raises INVALID_ARGUMENT that names the wrong one."""
    options = plugin_options(LlmRerankerOptions, given)
    if options.stride >= options.window:
        raise invalid(
            "stride",
            options.stride,
            f"must be less than the window ({options.window})",
            hint="Else what is best in one window never meets the next.",
        )
    return options
