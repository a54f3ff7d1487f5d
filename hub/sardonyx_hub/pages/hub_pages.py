"""JupyterHub's own pages as part of the datalab: what they look like, and where they lead."""

from __future__ import annotations

from typing import Any

from jupyterhub.utils import url_path_join
from traitlets.config import Config

from .assets import ASSETS
from .base import DatalabPageHandler
from .shell import template_vars


class HomeHandler(DatalabPageHandler):
    """``/hub/home``, to which JupyterHub's own pages and JupyterLab's "Hub control panel" lead: My services."""

    def get(self) -> None:
        """Go there."""
        self.redirect(url_path_join(self.hub.base_url, "datalab/services"))


def first_page(handler: Any) -> str:
    """Return where a person begins who asked for nothing in particular (``JupyterHub.default_url``)."""
    url: str = url_path_join(handler.hub.base_url, "datalab/catalogue")
    return url


def configure_pages(hub: Config) -> None:
    """Give JupyterHub's pages our look; `hub` is the section ``JupyterHub`` of its configuration."""
    hub.template_vars = {**template_vars(), **hub.get("template_vars", {})}
    hub.setdefault("logo_file", str(ASSETS / "logo.svg"))
    hub.setdefault("default_url", first_page)
