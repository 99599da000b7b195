"""Takes out of an e-mail what its reader sees: who wrote to whom, the subject, the text; attachments are named only."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

from simmim.cli.encodings import decode, standard_encoding
from simmim.cli.headings import without_marks
from simmim.cli.web_pages import page_text
from simmim.errors import DataError

__all__ = ["mail_text"]

_FIELDS = ("From", "To", "Cc", "Date", "Subject")


def mail_text(name: str, content: bytes, encoding: str | None) -> tuple[str, str]:
    """Return the text of an e-mail, and a note that names the attachments.

    Args:
        name: what an error calls the document.
        content: its bytes.
        encoding: what the user named; None takes what each part declares, or UTF-8.

    Raises:
        DataError: it is no e-mail, or a byte of a part is not valid in its encoding.
        ConfigError: there is no such encoding.
    """
    message = message_from_bytes(content, policy=policy.default)
    if not any(field in message for field in ("From", "Subject", "Date")):
        raise DataError(f"{name}: expected an e-mail with From, Date or Subject; name it .txt if it is plain text")
    texts, attached = _pieces(name, message, encoding)
    shown = ", ".join(attached[:5]) + (", …" if attached[5:] else "")
    note = f"{len(attached)} attachment{'s' if attached[1:] else ''} not read ({shown})" if attached else ""
    return "\n\n".join(text.strip() for text in texts if text.strip()), note


def _pieces(name: str, message: EmailMessage, encoding: str | None) -> tuple[list[str], list[str]]:
    """Return the texts of a message and of those that it forwards, in their order, and the names of attachments."""
    texts: list[str] = []
    attached: list[str] = []
    waiting = [(message, True)]
    while waiting:
        part, is_message = waiting.pop()
        kind = part.get_content_type()
        if is_message:
            texts.append("\n".join(_fields(part)))
        if part.is_multipart():
            inner = [one for one in part.get_payload() if isinstance(one, EmailMessage)]
            if kind == "multipart/alternative":
                inner = [one for one in inner if one.get_content_type() == "text/plain"][:1] or inner[-1:]
            waiting += [(one, kind == "message/rfc822") for one in reversed(inner)]
        elif part.get_content_disposition() == "attachment" or part.get_content_maintype() != "text":
            attached.append(part.get_filename() or kind)
        else:
            texts.append(_body(name, part, encoding))
    return texts, attached


def _fields(message: EmailMessage) -> Iterator[str]:
    """Give the fields that a reader sees, a line each."""
    return (f"{field}: {' '.join(str(message[field]).split())}" for field in _FIELDS if field in message)


def _body(name: str, part: EmailMessage, encoding: str | None) -> str:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    declared = standard_encoding(part.get_content_charset("utf-8"))
    if part.get_content_subtype() == "html":
        return without_marks(page_text(name, content, encoding or declared))[0]
    return decode(name, content, encoding, declared)
