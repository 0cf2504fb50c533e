from __future__ import annotations

import sys
from typing import Any

import pytest

from genkit_rag import MissingExtra
from genkit_rag.ingest import Chunk, CodeSplitter, Loaders, Section, Splitters

from .conftest import Corpus

PYTHON = '''"""A module."""

import os


# Why there is a stack.
@decorated
class Stack:
    """Holds things."""

    def push(self, thing):
        # at the end
        self.things.append(thing)  # the newest

    def pop(self):
        return self.things.pop()


def alone():
    return os.sep
'''


def split(text: str, language: str, size: int) -> list[Chunk]:
    return list(CodeSplitter(size, len).chunks(text, language=language))


def test_functions_stay_whole_and_know_what_they_belong_to() -> None:
    chunks = split(PYTHON, "python", 130)
    assert [(chunk.heading_path, chunk.text.split("\n")[0]) for chunk in chunks] == [
        ((), '"""A module."""'),
        (("Stack",), "# Why there is a stack."),
        (("Stack", "push"), "def push(self, thing):"),
        (("Stack", "pop"), "def pop(self):"),
        (("alone",), "def alone():"),
    ]
    assert chunks[2].text.endswith("# the newest")


def test_a_class_that_fits_is_one_chunk_with_its_comment_and_decorator() -> None:
    chunks = split(PYTHON, "python", 230)
    stack = next(chunk for chunk in chunks if chunk.heading_path == ("Stack",))
    assert stack.text.startswith("# Why there is a stack.\n@decorated\nclass Stack:")
    assert stack.text.endswith("return self.things.pop()")


def test_a_function_that_does_not_fit_is_cut_at_statements_and_keeps_its_signature() -> None:
    body = "".join(f"    value_{number} = compute(\n        {number},\n    )\n" for number in range(12))
    chunks = split(f"def long(argument):\n{body}", "python", 120)
    assert len(chunks) > 3
    assert chunks[0].text.startswith("def long(argument):\n    value_0 =")
    assert all(chunk.text.endswith(")") for chunk in chunks)
    assert {chunk.heading_path for chunk in chunks} == {("long",)}


@pytest.mark.parametrize(
    ("language", "code", "path"),
    [
        ("go", "package a\n\nfunc (s *Stack) Push(x int) {\n\trun(s.x)\n\trun(x, s)\n\n}\n", ("Stack", "Push")),
        ("rust", "struct A;\n\nimpl A {\n  /// doc\n  #[inline]\n  fn push(&self) { run(self.x) }\n}\n", ("A", "push")),
        ("javascript", "import x from 'x'\n\nexport class A { push(a) { return this.a.push(a) } }\n", ("A",)),
        ("typescript", "let a: number = 1\n\nexport const push = (a: string): void => { run(a); run(a) }\n", ("push",)),
        ("tsx", "let a: number = 1\n\nfunction View(): any { return <b>some text is here</b> }\n", ("View",)),
        ("java", "import a.List;\nclass A { int longFieldName; @Override void push() { run(1); } }\n", ("A", "push")),
        ("c", "#include <a.h>\n#include <b.h>\n\nstatic int *push(int a) { return run(a); }\n", ("push",)),
        ("c++", "#include <a>\n#include <bb>\n\nint A::push(int a) { return run(a, a); }\n", ("A", "push")),
        (
            "csharp",
            "namespace N { class A { int longFieldName; void Push() { Run(1); Run(2); Run(3); } } }\n",
            ("N", "A", "Push"),
        ),
        (
            "ruby",
            "module M\n  class A\n    def push(a)\n      @things << a\n      a\n    end\n  end\nend\n",
            ("M", "A", "push"),
        ),
        ("php", "<?php\nuse A\\B\\C;\nuse A\\B\\D;\nfunction push($a) { return run($a, $a, 1); }\n", ("push",)),
        ("bash", "#!/bin/sh\nset -e\nexport A=1 B=2 C=3\npush() {\n  echo one\n  echo two\n}\n", ("push",)),
        ("scala", "class A {\n  val longFieldName = 1\n  def push(a: Int): Int = run(a, a)\n}\n", ("A", "push")),
    ],
)
def test_every_language_names_its_definitions(language: str, code: str, path: tuple[str, ...]) -> None:
    found = next(
        chunk
        for chunk in split(code, language, 60)
        if "run(" in chunk.text.lower()
        or "two" in chunk.text
        or "text is here" in chunk.text
        or "push(a)" in chunk.text
    )
    assert found.heading_path == path


def test_an_unknown_language_and_broken_code_are_cut_at_lines() -> None:
    text = "alpha one\nalpha two\n\nbeta one. beta two\nbeta three\n\ngamma"
    for language in ("klingon", "python"):
        broken = text if language == "klingon" else text.replace("alpha", "][ )( 'x").replace("beta", "}{")
        chunks = split(broken, language, 30)
        assert all(chunk.heading_path == () for chunk in chunks)
        assert chunks[0].text == broken.split("\n\n")[0][:30]
        assert all(
            chunk.text.startswith(tuple(broken.split("\n")[number] for number in (0, 3, 4, 6))) for chunk in chunks
        )


def test_offsets_count_characters() -> None:
    text = "a = '漢字 👩‍👩‍👧 é'\n\n\ndef f():\n    return '漢字'\n\n\ndef g():\n    return '\ud800é'\n"
    for chunk in split(text, "python", 30):
        assert text[chunk.start : chunk.end] == chunk.text
    assert split(text, "python", 30)[-1].heading_path == ("g",)


def test_text_that_is_no_program_is_split_by_its_structure() -> None:
    text = "# Head\n\nSome text. " * 3
    chunks = list(CodeSplitter(40, len).chunks(text, markdown=True))
    assert chunks[0].heading_path == ("Head",)


def test_deeply_nested_code_ends() -> None:
    text = "f(" * 30_000 + ")" * 30_000
    assert split(text, "python", 100)[-1].end == len(text)


async def test_programs_are_ingested_by_their_language(corpus: Corpus) -> None:
    def load(path: Any, context: Any) -> Any:
        yield Section(path.read_text(), language="python")

    loaders = Loaders()
    loaders.register(".code", load)
    corpus.write("stack.code", PYTHON)
    corpus.write("notes.txt", "Some prose.")
    options = {"loaders": loaders, "splitter": Splitters(code=CodeSplitter(130, len))}
    await corpus.ingest(**options)
    paths = [document.metadata.get("heading_path") for document in corpus.sink.documents.values()]
    assert ["Stack", "push"] in paths
    corpus.sink.embedded.clear()
    assert (await corpus.ingest(**{**options, "splitter": Splitters(code=CodeSplitter(300, len))})).changed == 2
    assert "Some prose." not in corpus.sink.embedded


def test_a_missing_grammar_is_named_and_never_replaced_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from genkit_rag._ingest.splitters import grammars

    grammars._grammar.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_ruby", None)
    with pytest.raises(MissingExtra, match="tree_sitter_ruby"):
        split("def f; end", "ruby", 100)
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    with pytest.raises(MissingExtra, match=r"genkit-rag\[code\]"):
        CodeSplitter()
