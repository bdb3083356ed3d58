"""Mails with their attachments, books (EPUB) and RTF."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from stacks.readers import (
    Note,
    Notes,
    Reader,
    Refusal,
    Refused,
    bundle,
    html,
    load_modules,
    packages,
)

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_OPF = "{http://www.idpf.org/2007/opf}"
_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"


def load_mail(within: bundle.Within) -> Reader:
    import email.mime
    load_modules(email)
    convert = html.converter()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        message = email.message_from_bytes(data, policy=email.policy.default)
        for name in _HEADERS:
            if value := message.get(name):
                yield f"{name}: {value}\n"
        yield "\n"
        body = message.get_body(("plain", "html"))
        if body is not None:
            content = str(body.get_content())
            yield convert(content) if body.get_content_subtype() == "html" else content
            yield "\n\n"
        yield from _attached(((part.get_filename() or part.get_content_type(),
                               part.get_payload(decode=True))
                              for part in message.iter_attachments()), within, notes)
    return read


def load_msg(within: bundle.Within) -> Reader:
    """Outlook's own kind of mail."""
    import oxmsg
    load_modules(oxmsg)
    convert = html.converter()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        message = oxmsg.Message.load(io.BytesIO(data))
        to = ", ".join(f"{r.name} <{r.email_address}>" for r in message.recipients)
        for name, value in (("From", message.sender), ("To", to), ("Date", message.sent_date),
                            ("Subject", message.subject)):
            if value:
                yield f"{name}: {value}\n"
        yield "\n"
        if body := message.body or (convert(message.html_body) if message.html_body else ""):
            yield body + "\n\n"
        else:  # it stands there as RTF alone
            notes.add(Note.WITHIN, 1)
        yield from _attached(((part.file_name or "without a name", part.file_bytes)
                              for part in message.attachments), within, notes)
    return read


def _attached(parts: Iterable[tuple[str, Any]], within: bundle.Within, notes: Notes
              ) -> Iterator[str]:
    """What is attached to a mail, each by its name; what is no file, or too many, is noted."""
    for number, (name, data) in enumerate(parts):
        if number >= bundle.MOST or not isinstance(data, bytes):
            notes.add(Note.ATTACHMENTS, 1)
        else:
            yield from bundle.headed(f"## Attachment: {name}", within(name, data, notes))


def load_book() -> Reader:
    parse, convert = packages.parser(recover=True), html.converter()

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(part.file_size for part in packed.infolist()) > packages.MAX_UNPACKED:
                raise Refused(Refusal.UNPACKS)
            if "META-INF/encryption.xml" in packed.namelist() and (
                    b"EncryptedKey" in packed.read("META-INF/encryption.xml")):
                raise Refused(Refusal.ENCRYPTED)
            container = parse(packed.read("META-INF/container.xml"))
            path = next(container.iter(_CONTAINER + "rootfile")).get("full-path")
            book, folder = parse(packed.read(path)), posixpath.dirname(path)
            items = {item.get("id"): posixpath.normpath(posixpath.join(folder, item.get("href")))
                     for item in book.iter(_OPF + "item")}
            for reference in book.iter(_OPF + "itemref"):
                chapter = items.get(reference.get("idref"))
                if chapter in packed.namelist() and reference.get("linear") != "no":
                    yield convert(packed.read(chapter).decode("utf-8", errors="replace")) + "\n\n"
    return read


def load_rtf() -> Reader:
    from striprtf.striprtf import rtf_to_text  # type: ignore[import-untyped]

    def read(data: bytes, notes: Notes) -> Iterator[str]:
        if not data.lstrip().startswith(b"{\\rtf"):
            raise Refused(Refusal.DAMAGED)
        yield rtf_to_text(data.decode("latin-1"), errors="replace")
        if many := data.count(b"\\pict"):
            notes.add(Note.PICTURES, many)
    return read
