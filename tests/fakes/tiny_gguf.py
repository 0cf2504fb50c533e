"""Writes a BERT cross-encoder as a GGUF file, which llama.cpp loads: a real reranker in 100 KB.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; tensors and keys are those of the architecture
`bert` there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BertForSequenceClassification

from tests.fakes.tiny_bert import VOCABULARY

_ALIGNMENT = 32
_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5
_RANK = 4  # the pooling type that gives a score
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_NAMES = {
    "bert.embeddings.word_embeddings": "token_embd",
    "bert.embeddings.position_embeddings": "position_embd",
    "bert.embeddings.token_type_embeddings": "token_types",
    "bert.embeddings.LayerNorm": "token_embd_norm",
    "bert.pooler.dense": "cls",
    "classifier": "cls.output",
}


def save_gguf(classifier: Path, path: Path) -> Path:
    """Returns `path` after writing the classifier of that folder (see `save_classifier`) to it."""
    model: Any = BertForSequenceClassification.from_pretrained(classifier)
    tensors = {_tensor_name(name): value.detach().numpy() for name, value in model.named_parameters()}
    path.write_bytes(_file(_keys(model.config), tensors))
    return path


def _tensor_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    number, _, rest = stem.removeprefix("bert.encoder.layer.").partition(".")
    return f"blk.{number}.{_LAYER[rest]}.{kind}"


def _piece(word: str) -> str:
    """Returns a piece as llama.cpp writes it: those that begin a word are marked, not those that go on with one."""
    return word.removeprefix("##") if word.startswith("##") else word if word[0] == "[" else f"\u2581{word}"


def _keys(config: Any) -> dict[str, bytes]:
    pieces = [
        f"[unused{number}]" if word in VOCABULARY[number + 1 :] else _piece(word)  # of twins the last one counts
        for number, word in enumerate(VOCABULARY)
    ]
    kinds = [_UNKNOWN if word == "[UNK]" else _CONTROL if word[0] == "[" else _NORMAL for word in VOCABULARY]
    special = {
        "bos": "[CLS]",
        "eos": "[SEP]",
        "unknown": "[UNK]",
        "seperator": "[SEP]",
        "padding": "[PAD]",
        "cls": "[CLS]",
        "mask": "[MASK]",
    }
    ids = {f"tokenizer.ggml.{name}_token_id": _u32(VOCABULARY.index(word)) for name, word in special.items()}
    return {
        "general.architecture": _string("bert"),
        "general.name": _string("tiny"),
        "bert.context_length": _u32(config.max_position_embeddings),
        "bert.embedding_length": _u32(config.hidden_size),
        "bert.feed_forward_length": _u32(config.intermediate_size),
        "bert.block_count": _u32(config.num_hidden_layers),
        "bert.attention.head_count": _u32(config.num_attention_heads),
        "bert.attention.layer_norm_epsilon": struct.pack("<If", _F32, config.layer_norm_eps),
        "bert.attention.causal": _bool(False),
        "bert.pooling_type": _u32(_RANK),
        "tokenizer.ggml.model": _string("bert"),
        "tokenizer.ggml.token_type_count": _u32(config.type_vocab_size),
        "tokenizer.ggml.tokens": _array(_STRING, [_text(piece) for piece in pieces]),
        "tokenizer.ggml.token_type": _array(_I32, [struct.pack("<i", kind) for kind in kinds]),
        # [CLS] query [SEP] document [SEP], as the model is asked elsewhere
        **{f"tokenizer.ggml.add_{name}_token": _bool(name != "sep") for name in ("bos", "eos", "sep")},
        **ids,
    }


def _file(keys: dict[str, bytes], tensors: dict[str, Any]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_text(name) + value for name, value in keys.items())
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += _padded(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return _padded(head) + data


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _string(text: str) -> bytes:
    return struct.pack("<I", _STRING) + _text(text)


def _u32(number: int) -> bytes:
    return struct.pack("<II", _U32, number)


def _bool(value: bool) -> bytes:
    return struct.pack("<I?", _BOOL, value)


def _array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % _ALIGNMENT)
