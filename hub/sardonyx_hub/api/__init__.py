"""The JSON API of the datalab, below ``/hub/api/datalab/v1/``."""

from __future__ import annotations

__all__ = ["api_handlers"]


def api_handlers() -> list[tuple[str, type]]:
    """Return the routes for ``Authenticator.get_handlers``, which mounts them below ``/hub/``."""
    # Late: the command line imports the audit from this package and needs no JupyterHub for it.
    from .routes import api_handlers as handlers

    return handlers()
