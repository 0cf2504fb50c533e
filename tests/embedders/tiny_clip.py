"""A small CLIP folder with random weights: real files that sentence-transformers loads, without a hub."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

SIZE = 16


def save_clip(folder: Path) -> Path:
    """Returns the folder after writing a model of texts and images, 24 dimensions."""
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32)
    size = {"height": SIZE, "width": SIZE}
    images = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(pieces) - 2, "eos_token_id": len(pieces) - 1, "pad_token_id": len(pieces) - 1}
    config = CLIPConfig(
        text_config={**shape, **ends, "vocab_size": len(pieces), "max_position_embeddings": 32},
        vision_config={**shape, "image_size": SIZE, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).eval().save_pretrained(folder)
    return folder


def png(colour: tuple[int, int, int]) -> str:
    """Returns an image of one colour as a data: URL."""
    body = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), colour).save(body, "PNG")
    return f"data:image/png;base64,{base64.b64encode(body.getvalue()).decode()}"
