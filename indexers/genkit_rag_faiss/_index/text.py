"""Keyword search: a tantivy index for each namespace, kept in step with the database.

It is rebuilt whenever it cannot be trusted. Namespaces share no statistics, so the frequency of a word in one does not
affect scores in another.

Scores are BM25 (k1 = 1.2, b = 0.75, as in Lucene). Text is split at characters other than letters and digits,
lower-cased, stripped of accents and English stop words, and stemmed (Porter2).
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
    """The full-text index of one namespace. Methods block; call `sync` before `search`.

    Args:
        database: The source of truth.
        directory: The folder of all text indexes.
        namespace: The namespace.
        manifest: The record of its last closing; None if there is none.
        writable: Whether this process may write; other processes read the index while it is up to date, otherwise they
            build their own in memory.
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
        """Return whether the index covers this view, so that a search needs no `sync`."""
        return self._stamp == view.stamps.get(self.namespace, 0)

    def sync(self, view: View) -> None:
        """Bring the index in step with a view: add new documents, remove deleted ones."""
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
        """Search by keywords: `(row, score)` of the best k, best first; k of them if k exist.

        Args:
            query: Any text; there is no query syntax.
            k: The number of results.
            view: The current view; hits outside of it are never returned.
            rows: The rows to search; None for all live ones.
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
        """Return the record by which the next opening can trust the files; None for an index in memory."""
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
        """Return the number of indexed documents."""
        return int(self._searcher.num_docs)


def folder_name(namespace: str) -> str:
    """Return the folder name of a namespace's text index: a hash, since a namespace may be any text."""
    return hashlib.blake2b(namespace.encode(), digest_size=8).hexdigest()


def _without(these: Ints, others: Ints) -> Ints:
    """Return the elements of one ascending array that are not in the other."""
    if not len(others):
        return these
    at = np.searchsorted(others, these)
    at[at == len(others)] = 0
    kept: Ints = these[others[at] != these]
    return kept


def _indexed(searcher: Any) -> Ints:
    """Return the sequence numbers in an index, ascending."""
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
