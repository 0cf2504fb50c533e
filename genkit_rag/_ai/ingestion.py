"""The methods of `Genkit` that keep a store in step with files and documents."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._ai.definitions import Definitions
from genkit_rag._core.action import Action
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from genkit_rag._ai.ingest_flow import PageSource
    from genkit_rag._ingest.events import IngestReport, Progress
    from genkit_rag._ingest.sink import IngestOptions
    from genkit_rag._ingest.source import Given


class Ingestion(Definitions):
    """The part of `Genkit` that loads, splits and indexes files and documents."""

    async def ingest(
        self,
        paths: str | Path | Iterable[str | Path] = (),
        *,
        indexer: str,
        documents: Iterable[Given] | AsyncIterable[Given] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        options: IngestOptions | None = None,
        progress: Progress | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> IngestReport:
        """Bring a store in step with files or documents: load, split, embed and write what changed.

        Unchanged sources are not embedded again, the chunks of changed ones are replaced, and those of removed ones are
        deleted. After a run that was stopped, the next one continues.

        Args:
            paths: Files, folders and glob patterns.
            indexer: The name of a store, for example `faiss/docs`.
            documents: Documents instead of files; those with the same `metadata['source']` belong together.
            namespace: The namespace to write to.
            options: How to split, load and remember; see `genkit_rag.ingest.IngestOptions`.
            progress: A function that is called with each event.
            context: Facts about the caller, for stores with a `required_filter`; never sent to a model.

        Returns:
            A report with counts, failed and skipped sources, and notes about content that was not read.

        Raises:
            GenkitError: NOT_FOUND for a path or a store that does not exist.
            IngestStopped: The embedder or the store failed; the error has the report up to that point.
        """
        from genkit_rag._ai.index_sink import IndexSink
        from genkit_rag._ingest.pipeline import ingest
        from genkit_rag._ingest.sink import IngestOptions
        from genkit_rag._ingest.splitters.chunk import with_count

        sink = await IndexSink.open(self.registry, indexer, namespace=namespace, context=context)
        options = options or IngestOptions()
        # Count in the tokens of the embedding model if it can: it ignores text beyond its limit.
        options = replace(options, splitter=with_count(options.splitter, sink.embedder.count_tokens))
        return await ingest(paths, sink=sink, documents=documents, options=options, progress=progress)

    def define_ingest_flow(
        self,
        name: str,
        *,
        indexer: str,
        base: str | Path,
        allow_urls: bool | PageSource = False,
        namespaces: Collection[str] | None = (),
        options: IngestOptions | None = None,
    ) -> Action[Any, Any, Any]:
        """Define a flow that ingests files and web pages that its caller names.

        The input is `{paths, urls, namespace, dryRun}`, the output is the report as JSON. A chunk of the stream has a
        `type` (`Started`, `SourceDone`, `ChunksDone`, `Note`, `Finished`) and the fields of the event.

        Args:
            name: The name of the flow.
            indexer: The name of a store, for example `faiss/docs`.
            base: The folder that paths are relative to. Files outside of it and hidden files are never read.
            allow_urls: Whether web pages of public servers may be named, or a function that fetches them;
                `web_pages` by default, without following links.
            namespaces: The namespaces that a caller may name besides the default; None for any.
            options: Ingestion options; the flow sets `base` and `dry_run`.

        Raises:
            GenkitError: INVALID_ARGUMENT if `base` is not a folder.
        """
        from genkit_rag._ai.ingest_flow import IngestRequest, ingest_flow

        flow = ingest_flow(
            self.ingest, indexer=indexer, base=base, allow_urls=allow_urls, namespaces=namespaces, options=options
        )
        return self.define_flow(flow, name=name, input_type=IngestRequest)
