"""The catalogue as it is now: a changed file is read again, a broken one is reported and the one before it
stays."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from logging import Logger
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from .catalogue import DEFAULT_CATALOGUE, Catalogue, load_catalogue
from .errors import CatalogueError, CatalogueProblem
from .profiles import SOURCE, catalogue_from_profiles, load_profiles

#: Seconds that an operator's callable may take.
_PROFILES_SECONDS = 10.0

#: File -> (its modification, the last good catalogue in it). Shared by all spawners of the hub.
_FILES: dict[Path, tuple[tuple[int, int], Catalogue]] = {}
_TEXTS: dict[str, Catalogue] = {}
#: File -> when its last good catalogue was read; and what is wrong with it now, if anything is.
_LOADED: dict[Path, datetime] = {}
_PROBLEMS: dict[Path, tuple[CatalogueProblem, ...]] = {}
#: Spawner -> (its `profile_list`, the catalogue that it means). traitlets gives each spawner a copy of the list.
_PROFILES: WeakKeyDictionary[Any, tuple[Any, Catalogue]] = WeakKeyDictionary()


async def catalogue_from(given: Any, file: str, spawner: Any) -> Catalogue:
    """Return the catalogue that the operator configured.

    Parameters
    ----------
    given
        A catalogue, YAML text, or a ``profile_list``; ``None``: `file`.
    file
        Path of a YAML file; empty: the catalogue that comes with Sardonyx.
    spawner
        What a callable is called with; its log gets the problems of a broken file.

    Raises
    ------
    CatalogueError
        If it is broken and was never whole, or a callable failed.
    OSError
        If the file is not there and never was.
    TypeError
        If `given` is something else.
    """
    if isinstance(given, Catalogue):
        return given
    if isinstance(given, str):
        if given not in _TEXTS:
            _TEXTS[given] = await asyncio.to_thread(load_catalogue, given)
        return _TEXTS[given]
    if callable(given):
        return await _called(given, spawner)
    if isinstance(given, list | tuple | Mapping):
        known = _PROFILES.get(spawner)
        if known is None or known[0] is not given:
            known = _PROFILES[spawner] = (given, catalogue_from_profiles(given))
        return known[1]
    if given is not None:
        raise TypeError("the catalogue is a Catalogue, a text in YAML, or a profile_list")
    return await asyncio.to_thread(_read, Path(file) if file else DEFAULT_CATALOGUE, spawner.log)


async def _called(profile_list: Any, spawner: Any) -> Catalogue:
    """Ask an operator's callable for its profiles."""
    try:
        async with asyncio.timeout(_PROFILES_SECONDS):
            return await load_profiles(profile_list, spawner)
    except CatalogueError:
        raise
    except Exception as error:
        name = getattr(profile_list, "__name__", type(profile_list).__name__)
        problem = f"the callable {name} failed with {type(error).__name__}"
        spawner.log.error("%s: %s", SOURCE, problem, exc_info=error)
        raise CatalogueError([CatalogueProblem(SOURCE, 0, "", problem)]) from None


def _read(path: Path, log: Logger) -> Catalogue:
    known = _FILES.get(path)
    try:
        status = path.stat()
        modified = (status.st_mtime_ns, status.st_size)
        if known is not None and known[0] == modified:
            return known[1]
        catalogue = load_catalogue(path)
    except (OSError, CatalogueError) as error:
        _PROBLEMS[path] = _problems_of(path, error)
        if known is None:
            raise
        log.error("The catalogue cannot be used, the one before stays: %s", error)
        # Remembered as it is: one message a change, not one a form.
        if not isinstance(error, OSError):
            _FILES[path] = (modified, known[1])
        return known[1]
    _FILES[path] = (modified, catalogue)
    _LOADED[path] = datetime.now(UTC)
    _PROBLEMS.pop(path, None)
    return catalogue


def _problems_of(path: Path, error: OSError | CatalogueError) -> tuple[CatalogueProblem, ...]:
    if isinstance(error, CatalogueError):
        return tuple(error.problems)
    return (CatalogueProblem(str(path), 0, "", f"cannot be read: {error.strerror or type(error).__name__}"),)


@dataclass(frozen=True)
class CatalogueStatus:
    """How it stands with the catalogue.

    Parameters
    ----------
    file
        Where it comes from; empty if it is no file.
    loaded_at
        When what is in use was read; None if it is no file.
    catalogue
        What is in use; None if there never was a good one.
    problems
        What is wrong with it as it stands in the file now; then `catalogue` is the one before it.
    """

    file: str
    loaded_at: datetime | None
    catalogue: Catalogue | None
    problems: tuple[CatalogueProblem, ...] = ()


async def catalogue_status(spawner: Any, *, again: bool = False) -> CatalogueStatus:
    """Return how it stands with the catalogue of a spawner, as an administrator is shown it.

    Parameters
    ----------
    again
        Read the file also if it looks unchanged (a network disk may give a new file an old time).
    """
    path = Path(spawner.catalogue_file) if spawner.catalogue_file else DEFAULT_CATALOGUE
    is_file = spawner.catalogue is None
    if is_file and again and path in _FILES:
        _FILES[path] = ((0, -1), _FILES[path][1])
    catalogue: Catalogue | None = None
    problems: tuple[CatalogueProblem, ...] = ()
    try:
        catalogue = await catalogue_from(spawner.catalogue, spawner.catalogue_file, spawner)
    except (CatalogueError, OSError) as error:
        problems = _problems_of(path, error)
    except TypeError as error:
        problems = (CatalogueProblem(SOURCE, 0, "", str(error)),)
    if not is_file:
        return CatalogueStatus("", None, catalogue, problems)
    return CatalogueStatus(str(path), _LOADED.get(path), catalogue, problems or _PROBLEMS.get(path, ()))
