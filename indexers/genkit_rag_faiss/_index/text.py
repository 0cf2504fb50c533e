"""Search by words: a tantivy index for each namespace, which follows the database.

It is made again whenever it cannot be trusted. Namespaces share no statistics: how rare a word is elsewhere changes no
score.

Scores are BM25 (k1 = 1.2, b = 0.75, as in Lucene). Text is split at what is no letter or digit, lower-cased, freed of
accents and English stop words, and stemmed (Porter2).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tantivy

from genkit_rag.plugin_api import STOP_WORDS, GenkitError
from genkit_rag_faiss._index.arrays import Ints
from genkit_rag_faiss._index.view import View
from genkit_rag_faiss._storage.database import Database, Segment
from genkit_rag_faiss._storage.digest import file_digest
from genkit_rag_faiss._storage.records import text_of

logger = logging.getLogger("genkit_rag.faiss")

_tantivy: Any = tantivy

TEXT = "text"
ANALYZER_VERSION = 2
"""Part of the manifest: an index made by another analysis is made again."""
MAX_TERMS = 256
"""How many different words of a query count: the first ones."""
SELECTIVE_ROWS = 2_000
"""Up to so many allowed rows the query names them; above it takes more hits until enough are allowed."""
HEAP_BYTES = 32 << 20
_CHUNK = 4096


def _schema() -> Any:
    builder = _tantivy.SchemaBuilder()
    builder.add_text_field("body", stored=False, tokenizer_name="words", index_option="freq")
    builder.add_integer_field("seq", indexed=True, fast=True)
    return builder.build()


def _analyzer() -> Any:
    filters = _tantivy.Filter
    builder = _tantivy.TextAnalyzerBuilder(_tantivy.Tokenizer.simple())
    steps = (
        filters.remove_long(255),
        filters.lowercase(),
        filters.ascii_fold(),
        filters.custom_stopword(sorted(STOP_WORDS)),
        filters.stemmer("english"),
    )
    for step in steps:
        builder = builder.filter(step)
    return builder.build()


class TextIndex:
    """The words of one namespace. All methods block; `sync` before `search`.

    Args:
        database: The truth.
        directory: The folder of all of them.
        namespace: The namespace.
        manifest: What was recorded when it was last closed; None when nothing was.
        writable: Whether this process may write there; others read it as long as it is up to date, and else make their
            own in memory.
    """

    def __init__(
        self, database: Database, directory: Path, namespace: str, manifest: Segment | None, *, writable: bool
    ) -> None:
        self._database = database
        self.namespace = namespace
        self._directory = directory / folder_name(namespace)
        self.writable = writable
        self.failed = False
        self._schema = _schema()
        self._analyzer = _analyzer()
        self._lock = threading.Lock()
        self._stamp = 0
        self._index, self._seqs = self._open(manifest)
        self._searcher: Any = self._index.searcher()

    def _open(self, manifest: Segment | None) -> tuple[Any, Ints]:
        if manifest is not None and self._trusted(manifest):
            try:
                index = self._register(_tantivy.Index.open(str(self._directory)))
                return index, _indexed(index.searcher())
            except Exception as error:  # whatever a library makes of a damaged file
                logger.warning("The text index in %s cannot be opened (%s): it is made again.", self._directory, error)
        return self._fresh()

    def _fresh(self) -> tuple[Any, Ints]:
        nothing = np.empty(0, np.int64)
        if self.writable:
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                _empty(self._directory)
                return self._register(_tantivy.Index(self._schema, path=str(self._directory))), nothing
            except Exception as error:
                self._stay_in_memory(error)
        return self._register(_tantivy.Index(self._schema)), nothing

    def _stay_in_memory(self, error: Exception) -> None:
        # A full or broken disk: words can be searched in memory all the same.
        logger.warning("The text index in %s cannot be written (%s): it stays in memory.", self._directory, error)
        self.writable, self.failed = False, True

    def _trusted(self, manifest: Segment) -> bool:
        directory = self._directory
        with contextlib.suppress(OSError):
            if manifest.params.get("files") == _digests(directory):
                return True
        if manifest.params.get("analyzer") != ANALYZER_VERSION:
            return False
        logger.warning("The text index in %s does not match its checksums: it is made again.", directory)
        return False

    def _register(self, index: Any) -> Any:
        index.register_tokenizer("words", self._analyzer)
        return index

    def covers(self, view: View) -> bool:
        """Returns whether it has what is in this view, so that a search needs no `sync`."""
        return self._stamp == view.stamps.get(self.namespace, 0)

    def sync(self, view: View) -> None:
        """Brings it to a view: adds what is new, removes what is gone."""
        with self._lock:
            stamp = view.stamps.get(self.namespace, 0)
            if self._stamp >= stamp:
                return
            wanted = view.living(self.namespace)
            new, gone = _without(wanted, self._seqs), _without(self._seqs, wanted)
            if len(new) or len(gone):
                self._follow(wanted, new, gone)
            self._seqs = wanted
            self._stamp = stamp

    def _follow(self, wanted: Ints, new: Ints, gone: Ints) -> None:
        if self.writable:
            try:
                return self._write(new, gone)
            except GenkitError:
                raise
            except Exception as error:
                self._stay_in_memory(error)
        elif not len(self._seqs):
            return self._write(new, gone)
        self._index, _ = self._fresh()  # the files may be another process's, or half written: start one of our own
        self._write(wanted, wanted[:0])

    def _write(self, new: Ints, gone: Ints) -> None:
        writer = self._index.writer(heap_size=HEAP_BYTES, num_threads=1)
        try:
            for seq in gone.tolist():
                writer.delete_documents_by_term("seq", seq)
            for start in range(0, len(new), _CHUNK):
                seqs = new[start : start + _CHUNK].tolist()
                rows = self._database.rows(seqs)
                self._database.check_lost(set(seqs) - {row[0] for row in rows})
                for row in rows:
                    writer.add_document(_tantivy.Document(seq=row[0], body=text_of(row)))
            writer.commit()
        finally:
            writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, query: str, k: int, view: View, rows: Ints | None) -> list[tuple[int, float]]:
        """Returns `(row, score)` of the best k, best first; k of them when k exist.

        Args:
            query: Any text; there is no syntax.
            k: How many.
            view: What is there; hits outside of it are never returned.
            rows: The rows that may be found; None for all living ones.
        """
        words = self._query(query)
        size = view.live if rows is None else len(rows)
        if words is None or not size:
            return []
        searcher = self._searcher
        if rows is not None and size <= SELECTIVE_ROWS:
            words = self._restricted(words, view.seqs[rows].tolist())
        allowed = view.alive
        if rows is not None:
            allowed = np.zeros(view.n, np.bool_)
            allowed[rows] = True
        limit = k + 16 if rows is None or size <= SELECTIVE_ROWS else 2 * k * max(1, view.live // size) + 16
        while True:
            hits = searcher.search(words, limit, count=False).hits
            seqs = searcher.fast_field_values("seq", [address for _, address in hits])
            found = view.rows_of_seqs(np.array(seqs, np.int64)).tolist()
            passing = [(row, hit[0]) for row, hit in zip(found, hits, strict=True) if row >= 0 and allowed[row]]
            if len(passing) >= k or len(hits) < limit:
                return passing[:k]
            limit *= 4

    def _query(self, text: str) -> Any:
        terms = Counter(self._analyzer.analyze(text.encode("utf-8", "replace").decode()))
        if not terms:
            return None
        make, should = _tantivy.Query, _tantivy.Occur.Should
        clauses: list[tuple[Any, Any]] = []
        for term, count in list(terms.items())[:MAX_TERMS]:
            clause = make.term_query(self._schema, "body", term, index_option="freq")
            clauses.append((should, make.boost_query(clause, float(count)) if count > 1 else clause))
        return make.boolean_query(clauses)

    def _restricted(self, words: Any, seqs: list[int]) -> Any:
        make, must = _tantivy.Query, _tantivy.Occur.Must
        named = make.const_score_query(make.term_set_query(self._schema, "seq", seqs), 0.0)
        return make.boolean_query([(must, words), (must, named)])

    def manifest(self) -> Segment | None:
        """Returns what to record so that the files can be trusted at the next opening; None for one in memory."""
        if not self.writable:
            return None
        try:
            files = _digests(self._directory)
        except OSError as error:
            self._stay_in_memory(error)
            return None
        digest = hashlib.blake2b(repr(sorted(files.items())).encode(), digest_size=32).hexdigest()
        params = {"analyzer": ANALYZER_VERSION, "namespace": self.namespace, "files": files}
        return Segment(self._directory.name, TEXT, digest, params)

    def count(self) -> int:
        """Returns how many documents it holds."""
        return int(self._searcher.num_docs)


def folder_name(namespace: str) -> str:
    """Returns the name of the folder with a namespace's words; a hash, since namespaces may be any text."""
    return hashlib.blake2b(namespace.encode(), digest_size=8).hexdigest()


def _without(these: Ints, others: Ints) -> Ints:
    """Returns what is in one ascending array and not in the other."""
    if not len(others):
        return these
    at = np.searchsorted(others, these)
    at[at == len(others)] = 0
    kept: Ints = these[others[at] != these]
    return kept


def _indexed(searcher: Any) -> Ints:
    """Returns the sequence numbers that an index holds, ascending."""
    if not searcher.num_docs:
        return np.empty(0, np.int64)
    hits = searcher.search(_tantivy.Query.all_query(), searcher.num_docs, count=False).hits
    return np.sort(np.array(searcher.fast_field_values("seq", [address for _, address in hits]), np.int64))


def _digests(directory: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in _data_files(directory)}


def _data_files(directory: Path) -> Iterable[Path]:
    return (path for path in sorted(directory.iterdir()) if path.is_file() and not path.name.endswith(".lock"))


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
