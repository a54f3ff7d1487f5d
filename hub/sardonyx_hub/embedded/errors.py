"""What a person can meet when the embedded parts start: which part, why, what to do."""

from __future__ import annotations


class StartError(Exception):
    """The datalab cannot start (or go on). ``str()`` is the one line to show.

    Parameters
    ----------
    part
        Which part: ``port``, ``disk``, ``SeaweedFS``, ``OpenBao``, ``proxy``, ``hub``, ...
    reason
        Why, without a secret.
    remedy
        What the operator can do.
    """

    def __init__(self, part: str, reason: str, remedy: str) -> None:
        super().__init__(f"{part}: {reason}; {remedy}")
        self.part = part
        self.reason = reason
        self.remedy = remedy
