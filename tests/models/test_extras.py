"""A model plugin whose library is not installed says which command installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("plugin", "library", "extra"),
    [
        ("genkit_rag_openai", "httpx", "openai"),
        ("genkit_rag_ollama", "httpx", "ollama"),
        ("genkit_rag_llama_cpp", "xllamacpp", "llama-cpp"),
    ],
)
def test_a_missing_library_names_the_extra(plugin: str, library: str, extra: str) -> None:
    script = (
        f"import sys; sys.modules[{library!r}] = None\n"
        f"from genkit_rag.plugin_api import MissingExtra\n"
        f"try:\n    import {plugin}\n"
        f"except MissingExtra as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f'pip install "genkit-rag[{extra}]"' in ran.stdout
