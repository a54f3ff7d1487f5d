"""Pages of the datalab: handlers and templates that extend JupyterHub's, static files, no single-page application."""

from __future__ import annotations

from pathlib import Path

from .assets import AssetHandler
from .spawn import DatalabSpawnHandler

#: For ``JupyterHub.template_paths``.
TEMPLATE_PATHS = [str(Path(__file__).with_name("templates"))]


def page_handlers() -> list[tuple[str, type]]:
    """Return the handlers of the pages; paths are relative to ``/hub/``.

    Those of the launch form are JupyterHub's own: handlers of the authenticator come first.
    """
    return [
        (r"/spawn", DatalabSpawnHandler),
        (r"/spawn/([^/]+)", DatalabSpawnHandler),
        (r"/spawn/([^/]+)/([^/]+)", DatalabSpawnHandler),
        (r"/datalab/static/(.*)", AssetHandler),
    ]
