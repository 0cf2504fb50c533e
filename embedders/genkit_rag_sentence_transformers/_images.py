"""Conversion of documents to model inputs: texts and decoded images."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from genkit_rag.plugin_api import Document, Media, invalid

_ONE = "Give a document one image and no text, or text only."


def inputs_of(documents: Sequence[Document], takes_images: bool) -> list[Any]:
    """Return a text or an image for each document; INVALID_ARGUMENT names a document that is neither."""
    return [_input(f"input[{position}]", document, takes_images) for position, document in enumerate(documents)]


def _input(argument: str, document: Document, takes_images: bool) -> Any:
    if document.is_text:
        # Tokenizers raise an error for lone surrogates.
        return document.text.encode("utf-8", "replace").decode()
    if not takes_images:
        raise invalid(argument, document, "must be text", hint="This model takes text only.")
    if len(document.content) != 1:
        raise invalid(argument, document, "must be one image or text", hint=_ONE)
    return _image(argument, document.media[0])


def _image(argument: str, media: Media) -> Any:
    from PIL import Image, UnidentifiedImageError

    head, comma, body = media.url.partition(",")
    if not head.startswith("data:") or not comma:
        raise invalid(
            argument,
            media.url,
            "must be a data: URL",
            hint="This embedder fetches nothing: read the image and write `data:image/png;base64,...`.",
        )
    try:
        data = base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (binascii.Error, UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise invalid(argument, media.url, f"is no image that can be read ({error})") from error
