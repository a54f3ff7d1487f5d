"""Messages of an administrator to one person, which stand on the person's pages until they close them."""

from __future__ import annotations

import secrets
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final

from ..documents import DocumentStore
from ..live import Live

#: Characters of one message, and messages of one person; the oldest makes room.
MAX_TEXT: Final = 1000
MAX_NOTICES: Final = 20


class NoticeError(ValueError):
    """A message cannot be sent as it is; the text says what is allowed."""


class Notices:
    """The messages of a hub: documents of kind ``warning`` with the keys ``NAME/ID``.

    Parameters
    ----------
    documents
        Keeps them.
    live
        Tells open pages.
    """

    def __init__(self, documents: DocumentStore, live: Live) -> None:
        self._documents = documents
        self._live = live

    def for_person(self, person: str) -> list[dict[str, Any]]:
        """Return the messages that a person has not closed yet, oldest first: ``id``, ``text``, ``by``, ``at``, ``session``."""
        prefix = f"{person}/"
        found = [
            {"id": key.removeprefix(prefix), **notice}
            for key, notice in self._documents.items("warning", prefix).items()
            # A name may have a slash in it: what follows it is an id, which has none.
            if "/" not in key.removeprefix(prefix)
        ]
        return sorted(found, key=lambda notice: (notice["at"], notice["id"]))

    async def send(self, person: str, text: str, *, by: str, session: str | None = None) -> dict[str, Any]:
        """Keep a message and show it on the person's open pages.

        Parameters
        ----------
        by
            Name of the administrator.
        session
            Name of the session that it is about; None: none.

        Raises
        ------
        NoticeError
            If there is no text, or too much of it.
        DocumentError
            If it cannot be kept.
        """
        text = clean(text)
        known = self.for_person(person)
        for notice in known[: max(0, len(known) - MAX_NOTICES + 1)]:
            await self.dismiss(person, notice["id"])
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        notice = {"text": text, "by": by, "at": moment, "session": session}
        number = secrets.token_hex(8)
        await self._documents.put("warning", f"{person}/{number}", notice)
        self._live.publish(person, "warning", {"user": person, "id": number, **notice})
        return {"id": number, **notice}

    async def dismiss(self, person: str, number: str) -> bool:
        """Forget a message and take it off the person's other open pages; return whether it was there.

        Raises
        ------
        DocumentError
            If that cannot be kept.
        """
        key = f"{person}/{number}"
        if "/" in number or self._documents.get("warning", key) is None:
            return False
        await self._documents.delete("warning", key)
        self._live.publish(person, "warning", {"user": person, "id": number, "dismissed": True})
        return True


def clean(text: str) -> str:
    """Return a message without blanks around it.

    Raises
    ------
    NoticeError
        If it is empty, too long, or has control characters other than line ends.
    """
    text = text.replace("\r\n", "\n").strip()
    if not text or len(text) > MAX_TEXT:
        raise NoticeError(f"'text' has 1 to {MAX_TEXT} characters.")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char != "\n" for char in text):
        raise NoticeError("'text' has no control characters.")
    return text
