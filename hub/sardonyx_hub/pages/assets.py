"""Static files of the pages, under ``/hub/datalab/static/``: their URLs carry a hash of the content."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.web import StaticFileHandler

ASSETS = Path(__file__).with_name("static")

#: Seconds that a browser keeps a file whose URL has the hash of its content (RFC 8246: immutable).
_A_YEAR = 31_536_000

#: Where Vite puts what pages share, named by hashes of the content.
_HASHED = "ui/chunks/"


def asset_url(hub_prefix: str, name: str) -> str | None:
    """Return the URL of a static file, or None if there is none of that name.

    Parameters
    ----------
    hub_prefix
        ``/hub/``, with JupyterHub's base URL.

    Examples
    --------
    >>> asset_url("/hub/", "form.css")  # doctest: +ELLIPSIS
    '/hub/datalab/static/form.css?v=...'
    """
    path = (ASSETS / name).resolve()
    if not path.is_relative_to(ASSETS.resolve()) or not path.is_file():
        return None
    return f"{hub_prefix}datalab/static/{quote(name)}?v={_content_hash(path, path.stat().st_mtime_ns)}"


@cache
def _content_hash(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class AssetHandler(StaticFileHandler):
    """Serves the files; one asked for by the hash of its content may be kept for ever, others are asked for again."""

    def initialize(self, path: str = str(ASSETS), *args: Any, **kwargs: Any) -> None:
        """Serve the folder of this package."""
        super().initialize(path, *args, **kwargs)

    def get_cache_time(self, path: str, modified: datetime | None, mime_type: str) -> int:
        """Return seconds for which the answer may be kept."""
        if path.startswith(_HASHED):
            return _A_YEAR
        asked = self.get_query_argument("v", "")
        url = asset_url("/", path)
        return _A_YEAR if asked and url is not None and url.endswith(f"?v={asked}") else 0

    def set_extra_headers(self, path: str) -> None:
        """Say how long to keep the file, and that it is nothing but what its type says."""
        kept = self.get_cache_time(path, self.modified, "")
        self.set_header("Cache-Control", f"public, max-age={kept}, immutable" if kept else "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
