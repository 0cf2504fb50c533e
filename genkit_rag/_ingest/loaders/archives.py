"""Archives: every member that a loader reads. Nothing is extracted under a name of theirs."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from genkit_rag._ingest.loaders.guard import Budget, CappedFile, is_encrypted, iter_reads, open_zip, readable
from genkit_rag._ingest.loaders.members import Members, check_depth, member_context
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_MAX_HEADER_BYTES = 1024**2
_SYMLINK = 0o120000
_KIND_MASK = 0o170000


def load_zip(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the sections of the members in archive order, with their path as `member`."""
    around = member_context(context, path)
    check_depth(around)
    members = Members(around, "member")
    seen: set[str] = set()
    with open_zip(path, "a zip archive", context.limits) as archive:
        for entry in archive.infolist():
            name = entry.orig_filename
            if entry.is_dir() or is_clutter(name):
                continue
            reason = _refusal(name, seen)
            if is_encrypted(entry):
                reason = "protected by a password"
            elif (entry.external_attr >> 16) & _KIND_MASK == _SYMLINK:
                reason = "a link"
            if reason:
                members.leave_out(name, reason)
                continue
            seen.add(name)
            yield from members.load(name, _zip_member(archive, entry, around.budget))
    members.close()


def load_tar(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the sections of the regular files of an uncompressed tar archive, with `member`."""
    around = member_context(context, path)
    check_depth(around)
    members = Members(around, "member")
    seen: set[str] = set()
    # tarfile reads the extended headers whole, as long as they say they are, and remembers every member.
    with readable("a tar archive"), CappedFile(path, _MAX_HEADER_BYTES) as file, _open_tar(file) as archive:
        for entry in archive:
            archive.members = []  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            if entry.isdir() or is_clutter(entry.name):
                continue
            reason = _refusal(entry.name, seen)
            if not entry.isreg() or entry.issparse():
                reason = "a link or a special file"
            stream = None if reason else archive.extractfile(entry)
            if stream is None:
                around.budget.enter()
                members.leave_out(entry.name, reason)
                continue
            seen.add(entry.name)
            yield from members.load(entry.name, iter_reads(stream, around.budget))
    members.close()


def load_gzip(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the sections of the compressed file, named like the archive without its suffix."""
    around = member_context(context, path)
    check_depth(around)
    members = Members(around, "member")
    name = path.stem + (".tar" if path.suffix.lower() == ".tgz" else "")
    with readable("a gzip file"), gzip.GzipFile(path) as stream:
        packed = _gzip_member(stream, around.budget)
        if Path(name).suffix.lower() == ".tar":
            yield from _without_own_name(members.load(name, packed), name)
        else:
            yield from members.load(name, packed)
    members.close()


def _open_tar(file: CappedFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:")


def is_clutter(name: str) -> bool:
    """Return whether a member is left out as in folders: hidden names, and metadata files of macOS."""
    parts = name.replace("\\", "/").split("/")
    return any(part.startswith((".", "__MACOSX")) and part.strip(".") for part in parts)


def _without_own_name(sections: Iterator[Section], name: str) -> Iterator[Section]:
    for section in sections:
        section.metadata["member"] = section.metadata["member"].removeprefix(f"{name}/")
        yield section


def _refusal(name: str, seen: set[str]) -> str:
    """Return why a name is not a valid path inside of the archive, or an empty string."""
    if not name or "\0" in name or "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "not a relative path"
    if ".." in name.split("/"):
        return "a path that leads out of the archive"
    return "a name that came before" if name in seen else ""


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    try:
        with archive.open(entry) as stream:
            yield from iter_reads(stream, budget)
    except UnreadableFile:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, RuntimeError) as error:
        raise UnreadableFile(f"damaged ({error})") from error


def _gzip_member(stream: gzip.GzipFile, budget: Budget) -> Iterator[bytes]:
    try:
        yield from iter_reads(stream, budget)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UnreadableFile(f"damaged or not a gzip file ({error})") from error
