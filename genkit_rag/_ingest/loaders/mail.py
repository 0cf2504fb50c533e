"""Messages by the standard library: `.eml`, and mailboxes of them."""

from __future__ import annotations

import hashlib
import mailbox
import mimetypes
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from genkit_rag._core.errors import MissingExtra
from genkit_rag._ingest.loaders.encoding import decode
from genkit_rag._ingest.loaders.guard import BLOCK, readable, storable
from genkit_rag._ingest.loaders.html import html_to_markdown
from genkit_rag._ingest.loaders.markdown import heading, one_line
from genkit_rag._ingest.loaders.members import MemberContext, Members, check_depth, member_context, reason_of
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_KIND = "an e-mail message"
_MAX_HEADER = 4096
_MAX_PARTS = 10_000
_BODIES = ("text/plain", "text/html")
_FIELDS = {"from": "From", "to": "To", "cc": "Cc", "message_id": "Message-ID"}


class _Policy(EmailPolicy):
    """Reads headers only as far as they are reasonable: the time that their parser takes grows with the square."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return super().header_fetch_parse(name, value[:_MAX_HEADER])


_PARSER = BytesParser(cast(type[EmailMessage], EmailMessage), policy=_Policy())


def load_eml(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the message as Markdown with its subject as heading, then the sections of its attachments.

    Metadata: `title` (the subject), `from`, `to`, `cc`, `date` (ISO 8601), `message_id`; `attachment` (its name) on
    the sections of attachments. Of a text in two forms the plain one is taken.
    """
    around = member_context(context, path)
    check_depth(around)
    _check_size(path.stat().st_size, around)
    yield from _message(path.read_bytes(), around)


def load_mbox(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each message of a mailbox like an `.eml` file; note messages that cannot be read."""
    around = member_context(context, path)
    check_depth(around)
    unread: list[str] = []
    with readable("a mailbox"):
        box = mailbox.mbox(path, create=False)
        try:
            for number, place in enumerate(box.iterkeys(), 1):
                try:
                    with box.get_file(place) as file:
                        raw = file.read(context.limits.max_tree_bytes + 1)
                    _check_size(len(raw), around)
                    yield from _with_keys(_message(raw, around), raw)
                except UnreadableFile as error:
                    if around.budget.is_spent:
                        raise
                    unread.append(f"message {number}: {reason_of(error)}")
        finally:
            box.close()
        if path.stat().st_size and not len(box):
            raise UnreadableFile("no messages in it: not a mailbox")
    if unread:
        context.note(f"{len(unread)} messages left out ({'; '.join(unread[:3])})")


def _with_keys(sections: Iterator[Section], raw: bytes) -> Iterator[Section]:
    """Yield the sections of one message of a mailbox with a unique key."""
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    for number, section in enumerate(sections):
        name = section.metadata.get("message_id") if number == 0 else None
        digest = str(name or digest)
        yield replace(section, key=f"{digest}\0{number}\0{section.key}")


def _check_size(size: int, context: MemberContext) -> None:
    limit = context.limits.max_tree_bytes
    if size > limit:
        raise UnreadableFile(f"a message of more than max_tree_bytes={limit:,}")


def _message(raw: bytes, context: MemberContext) -> Iterator[Section]:
    with readable(_KIND):
        message = cast(EmailMessage, _PARSER.parsebytes(raw))
        metadata = _metadata(message)
        texts, attachments = _parts(message)
        body, is_markdown = _body(texts, context)
        if metadata or body.strip():
            subject = metadata.get("title", "")
            text = f"{heading(1, subject)}\n\n{body}" if subject else body
            yield Section(text, metadata, markdown=is_markdown or bool(subject))
        members = Members(context, "attachment")
        for number, part in enumerate(attachments, 1):
            for section in members.load(_name(part, number), iter(_content(part))):
                yield replace(section, metadata={**metadata, **section.metadata})
        members.close()


def _metadata(message: EmailMessage) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    subject = _header(message, "Subject")
    if subject:
        metadata["title"] = subject
    for name, header in _FIELDS.items():
        value = _header(message, header)
        if value:
            metadata[name] = value
    with suppress(ValueError, TypeError, IndexError, OverflowError):  # no date, or nothing that is one
        metadata["date"] = parsedate_to_datetime(_header(message, "Date")).isoformat()
    return metadata


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message.get(name)
    except Exception:  # the standard library's parser fails in many ways on damaged headers, by recursion too
        return ""
    return one_line(storable(str(value))) if value is not None else ""


def _parts(message: EmailMessage) -> tuple[list[EmailMessage], list[EmailMessage]]:
    """Return the texts and the attachments; nested messages are attachments."""
    texts: list[EmailMessage] = []
    attachments: list[EmailMessage] = []
    pending = [message]
    count = 0
    while pending:
        part = pending.pop()
        count += 1
        if count > _MAX_PARTS:
            raise UnreadableFile(f"a message of more than {_MAX_PARTS:,} parts")
        payload: Any = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            pending += reversed(cast(list[EmailMessage], payload))
        elif part.get_content_type() in _BODIES and part.get_content_disposition() != "attachment":
            texts.append(part)
        else:
            attachments.append(part)
    return texts, attachments


def _body(texts: list[EmailMessage], context: MemberContext) -> tuple[str, bool]:
    """Return the message's text, and whether it is Markdown."""
    pieces = [(part.get_content_subtype() == "html", _decoded(part, context)) for part in texts]
    plain = [text for is_html, text in pieces if not is_html and text.strip()]
    if plain:
        return "\n\n".join(plain), False
    try:
        pages = [html_to_markdown(text)[1] for is_html, text in pieces if is_html and text.strip()]
    except MissingExtra as error:
        context.note(f"a text in HTML left out: {error}")
        return "", False
    return "\n\n".join(page for page in pages if page), True


def _decoded(part: EmailMessage, context: MemberContext) -> str:
    """Decode a part with its declared encoding, or a detected one."""
    payload = cast(bytes, part.get_payload(decode=True) or b"")
    charset = part.get_content_charset()
    try:
        text = payload.decode(charset or "utf-8")
    except (LookupError, ValueError):
        text = decode(payload, context)
    return str(storable(text.replace("\r\n", "\n")))


def _content(part: EmailMessage) -> Iterator[bytes]:
    payload: Any = part.get_payload()
    inner = cast(Any, payload[0]) if isinstance(payload, list) and payload else None
    content = inner.as_bytes() if inner is not None else cast(bytes, part.get_payload(decode=True) or b"")
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


def _name(part: EmailMessage, number: int) -> str:
    """Return an attachment's name, or one made of its number and type."""
    try:
        name = part.get_filename()
    except Exception:  # as in _header
        name = None
    if name and part.get_content_maintype() != "message":
        return one_line(storable(name)).replace("/", "_")
    kind = part.get_content_type()
    suffix = ".eml" if kind.startswith("message/") else mimetypes.guess_extension(kind) or ""
    return f"{name or f'attachment-{number}'}".removesuffix(suffix) + suffix
