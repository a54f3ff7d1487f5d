"""What all tiers share: the session environment, one whole datalab, and where results go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, running_stack

from sardonyx_hub.embedded.environments import LOCKS, default_cache_root, ensure_environment
from sardonyx_hub.embedded.mc import bin_directory, build_mc
from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE

RESULTS = Path(__file__).parent.parent / "test-results"


@pytest.fixture(scope="session")
def results() -> Path:
    """The folder for what a test leaves for its reader."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS


@pytest.fixture(scope="session")
def session_environment() -> Path:
    """The environment of jupyter-python, built first if it is not there."""
    return ensure_environment("jupyter-python", LOCKS / "jupyter-python.lock", default_cache_root(), print)


@pytest.fixture(scope="session")
def minio_client() -> Path:
    """The folder with the real `mc`; waits for its build."""
    build_mc(default_cache_root(), print)
    return bin_directory(default_cache_root())


@pytest.fixture(scope="session")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of `stack`, which a test may break and mend: a copy of the one that comes with Sardonyx."""
    copy = tmp_path_factory.mktemp("catalogue") / "catalogue.yaml"
    shutil.copyfile(DEFAULT_CATALOGUE, copy)
    return copy


@pytest.fixture(scope="session")
def stack(session_environment: Path, catalogue_file: Path) -> Iterator[Stack]:
    """One datalab for all tests of a tier that leave it as they found it."""
    sardonyx = Path(sys.executable).with_name("sardonyx")
    with running_stack(command=[str(sardonyx), "run", f"--catalogue={catalogue_file}"]) as running:
        yield running
