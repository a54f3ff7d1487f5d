"""``/hub/api/datalab/v1/messages``: messages of administrators to the person who asks, until they close them."""

from __future__ import annotations

from ..documents import DocumentError
from .base import ApiError, DatalabHandler


class MessagesHandler(DatalabHandler):
    """Messages of administrators to the person who asks."""

    # What JupyterHub gives people over themselves, and not to their sessions.
    scope = "read:users"

    async def get(self) -> None:
        """Send ``{"messages": [{"id", "text", "by", "at", "session"}]}``."""
        self.limit("read")
        self.finish({"messages": self.datalab.notices.for_person(self.person)})


class MessageHandler(DatalabHandler):
    """One message to the person who asks."""

    scope = "read:users"

    async def delete(self, number: str) -> None:
        """Close it; one that is closed already stays so."""
        self.limit("write")
        try:
            await self.datalab.notices.dismiss(self.person, number)
        except DocumentError:
            raise ApiError(503, "The state database does not answer.", code="database") from None
        self.set_status(204)
