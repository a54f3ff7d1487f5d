"""The session bundle: what a spawner hands to a session at its start, whatever made it.

The spawner knows nothing of S3, Vault or Git. The hub gives it a bundle through
:attr:`~sardonyx_spawner.mixin.DatalabSpawnerMixin.bundle_hook`; the spawner carries it into a process or a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BUNDLE_VERSION = 1


@dataclass(frozen=True)
class SessionBundle:
    """The initial environment of a session.

    Parameters
    ----------
    environment
        Variables for the session's processes; values are secret, names are not. Never formatted, never logged.
    document
        The credentials document (``GET /hub/api/datalab/v1/credentials``) that the environment was made from, which the
        session's agent writes at its first start without asking the hub again.
    warnings
        Sentences for the person: which source is missing and why.
    version
        Raised when the meaning of a field changes.
    """

    environment: Mapping[str, str] = field(repr=False, default_factory=dict)
    document: Mapping[str, Any] = field(repr=False, default_factory=dict)
    warnings: tuple[str, ...] = ()
    version: int = BUNDLE_VERSION
