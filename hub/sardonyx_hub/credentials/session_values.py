"""The environment variables that a person marked secret in the launch form of a session: kept in their secret store.

One secret a session, in a folder that begins with a dot and is therefore not listed among people's secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import SourceError
from .model import Subject
from .secret_store import SecretStore

#: Folder of what the datalab keeps of each session.
SESSIONS_FOLDER = ".datalab/sessions"


def values_path(server_name: str) -> str:
    """Return the path of a session's values, relative to the person's folder.

    Examples
    --------
    >>> values_path(""), values_path("jupyter-x7k2"), values_path("../a")
    ('.datalab/sessions/default/env', '.datalab/sessions/jupyter-x7k2/env', '.datalab/sessions/_2e__2e__2f_a/env')
    """
    # The default session has no name; one that is called so is another. Underscores are written out in all other names.
    known = {"": "default", "default": "_default"}
    folder = known.get(server_name) or re.sub("[^A-Za-z0-9-]", lambda one: f"_{ord(one[0]):x}_", server_name)
    return f"{SESSIONS_FOLDER}/{folder}/env"


def path_of_session(session: str) -> str:
    """Return the path of the values of a grant's session, ``handle/server/random``; empty if it is none."""
    match = re.fullmatch("[^/]+/(.*)/[^/]+", session, re.DOTALL)
    if match is None:
        return ""
    # As the spawner writes it: the default session has no name of its own.
    return values_path("" if match[1] == "default" else "default" if match[1] == "default-" else match[1])


def keep_values(
    store: SecretStore, subject: Subject, server_name: str, values: Mapping[str, str | None]
) -> None:
    """Keep `values` and nothing else for a session; a value that is None stays as it is. None at all: delete.

    Blocks, within the store's time limits.

    Raises
    ------
    SourceError
        If the store does not answer.
    """
    path = values_path(server_name)
    if not values:
        store.delete_internal(subject, path)
        return
    before: Mapping[str, object] = {}
    if any(value is None for value in values.values()):
        before = _read(store, subject, path)
    kept = {name: before.get(name) if value is None else value for name, value in values.items()}
    new = {name: value for name, value in kept.items() if value is not None}
    if dict(before) != new:
        store.write_internal(subject, path, new)


def move_values(store: SecretStore, subject: Subject, old_name: str, new_name: str) -> None:
    """Keep the values of a session under its new name. Blocks.

    Raises
    ------
    SourceError
        If the store does not answer.
    """
    values = _read(store, subject, values_path(old_name))
    if values:
        store.write_internal(subject, values_path(new_name), values)
        store.delete_internal(subject, values_path(old_name))


def _read(store: SecretStore, subject: Subject, path: str) -> Mapping[str, object]:
    try:
        return store.read_internal(subject, path).data
    except SourceError as error:
        if error.code != "missing":
            raise
        return {}
