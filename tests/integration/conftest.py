"""Servers that several modules of this tier use."""

from collections.abc import Iterator

import pytest
from credential_backends import Backends, running


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """The real SeaweedFS and OpenBao, and our parts on top of them."""
    with running(tmp_path_factory.mktemp("backends")) as started:
        yield started
