"""What may be set beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from genkit_rag.plugin_api import WireModel, invalid, plugin_options


class LlmRerankerOptions(WireModel):
    """The settings of the model calls.

    Attributes:
        max_tokens: The maximum number of tokens of one prompt, estimated at four characters each. If the passages do
            not fit, the window shrinks; if two do not fit, they are cut.
        passage_tokens: Longer passages are cut to this length.
        window: The number of passages that the model orders at once (20 in Sun et al. 2023).
        stride: The step of the window (10 in the paper); the best of one window are in the next one.
        on_error: The behaviour if a model call fails or its answer names no passage: `raise`, or `keep` the earlier
            order of the window, with a warning in the log.
    """

    max_tokens: int = Field(default=6000, ge=200)
    passage_tokens: int = Field(default=300, ge=1)
    window: int = Field(default=20, ge=2)
    stride: int = Field(default=10, ge=1)
    on_error: Literal["raise", "keep"] = "raise"


def llm_reranker_options(given: Mapping[str, Any]) -> LlmRerankerOptions:
    """Validate the options; INVALID_ARGUMENT names the wrong one."""
    options = plugin_options(LlmRerankerOptions, given)
    if options.stride >= options.window:
        raise invalid(
            "stride",
            options.stride,
            f"must be less than the window ({options.window})",
            hint="Else what is best in one window never meets the next.",
        )
    return options
