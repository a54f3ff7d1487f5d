"""The catalogue as it is now: a changed file is read again, a broken one is reported and the one before it
stays."""

from __future__ import annotations

import asyncio
from logging import Logger
from pathlib import Path
from typing import Any

from .catalogue import DEFAULT_CATALOGUE, Catalogue, load_catalogue
from .errors import CatalogueError

#: File -> (its modification, the last good catalogue in it). Shared by all spawners of the hub.
_FILES: dict[Path, tuple[tuple[int, int], Catalogue]] = {}
_TEXTS: dict[str, Catalogue] = {}


async def catalogue_from(given: Any, file: str, log: Logger) -> Catalogue:
    """Return the catalogue that the operator configured.

    Parameters
    ----------
    given
        A catalogue or YAML text; ``None``: `file`.
    file
        Path of a YAML file; empty: the catalogue that comes with Sardonyx.
    log
        Gets the problems of a broken file.

    Raises
    ------
    CatalogueError
        If it is broken and was never whole.
    OSError
        If the file is not there and never was.
    """
    if isinstance(given, Catalogue):
        return given
    if isinstance(given, str):
        if given not in _TEXTS:
            _TEXTS[given] = await asyncio.to_thread(load_catalogue, given)
        return _TEXTS[given]
    if given is not None:
        raise TypeError("the catalogue is a Catalogue or a text in YAML")
    return await asyncio.to_thread(_read, Path(file) if file else DEFAULT_CATALOGUE, log)


def _read(path: Path, log: Logger) -> Catalogue:
    known = _FILES.get(path)
    try:
        status = path.stat()
        modified = (status.st_mtime_ns, status.st_size)
        if known is not None and known[0] == modified:
            return known[1]
        catalogue = load_catalogue(path)
    except (OSError, CatalogueError) as error:
        if known is None:
            raise
        log.error("The catalogue cannot be used, the one before stays: %s", error)
        # Remembered as it is: one message a change, not one a form.
        if not isinstance(error, OSError):
            _FILES[path] = (modified, known[1])
        return known[1]
    _FILES[path] = (modified, catalogue)
    return catalogue
