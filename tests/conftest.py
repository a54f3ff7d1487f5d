"""What all tiers share: the session environment, one whole datalab, and where results go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, running_stack

from sardonyx_hub.embedded.environments import LOCKS, default_cache_root, ensure_environment
from sardonyx_hub.embedded.mc import bin_directory, build_mc

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
def stack(session_environment: Path) -> Iterator[Stack]:
    """One datalab for all tests of a tier that leave it as they found it."""
    with running_stack() as running:
        yield running
