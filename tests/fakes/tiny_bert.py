"""Small BERT folders with random weights: real files that transformers loads, in a second, without a hub."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

WORDS = ["the", "a", "cat", "kitten", "sleep", "##s", "on", "stove", "git", "merge", "branch", "how", "does"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *string.ascii_lowercase, *string.digits]
VOCABULARY += [".", ",", "!", "?", "-", *(f"##{letter}" for letter in string.ascii_lowercase)]


def _config(labels: int = 1) -> BertConfig:
    torch.manual_seed(0)
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.5,
    )


def _save_tokenizer(folder: Path) -> None:
    pieces = BertWordPieceTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)})
    PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def save_classifier(folder: Path, labels: int = 1) -> Path:
    """Returns the folder after writing a sequence classifier; with one label it is a cross-encoder."""
    folder.mkdir(parents=True)
    BertForSequenceClassification(_config(labels)).eval().save_pretrained(folder)
    _save_tokenizer(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    """Returns the folder after writing an encoder; sentence-transformers adds mean pooling to such a folder."""
    folder.mkdir(parents=True)
    BertModel(_config()).eval().save_pretrained(folder)
    _save_tokenizer(folder)
    return folder
