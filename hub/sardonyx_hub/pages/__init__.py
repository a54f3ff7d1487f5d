"""Pages of the datalab: handlers and templates that extend JupyterHub's, static files, no single-page application."""

from __future__ import annotations

from pathlib import Path

#: For ``JupyterHub.template_paths``.
TEMPLATE_PATHS = [str(Path(__file__).with_name("templates"))]


def page_handlers() -> list[tuple[str, type]]:
    """Return the handlers of the pages; paths are relative to ``/hub/``.

    Those of the launch form are JupyterHub's own: handlers of the authenticator come first.
    """
    # Late: handlers of the API use parts of this package, and pages use parts of the API.
    from .account import AccountPageHandler, AuthoritiesHandler, TokenRedirectHandler
    from .admin import admin_handlers
    from .announcement import AnnouncementHandler
    from .assets import AssetHandler
    from .catalogue import CatalogueHandler
    from .hub_pages import HomeHandler
    from .notices import NoticesHandler
    from .preferences import PreferencesHandler
    from .saved import SavedLaunchHandler
    from .secrets import SecretsPageHandler
    from .services import service_handlers
    from .spawn import DatalabSpawnHandler
    from .terms import TermsHandler

    return [
        (r"/spawn", DatalabSpawnHandler),
        (r"/spawn/([^/]+)", DatalabSpawnHandler),
        (r"/spawn/([^/]+)/([^/]+)", DatalabSpawnHandler),
        (r"/home", HomeHandler),
        (r"/datalab/preferences", PreferencesHandler),
        (r"/token", TokenRedirectHandler),
        (r"/datalab/account", AccountPageHandler),
        (r"/datalab/account/([^/]*)", AccountPageHandler),
        (r"/datalab/secrets", SecretsPageHandler),
        (r"/datalab/secrets/(.*)", SecretsPageHandler),
        (r"/datalab/ca\.pem", AuthoritiesHandler),
        *service_handlers(),
        (r"/datalab/catalogue", CatalogueHandler),
        (r"/datalab/configurations/([^/]+)/launch", SavedLaunchHandler),
        (r"/datalab/terms", TermsHandler),
        (r"/datalab/announcement", AnnouncementHandler),
        (r"/datalab/notices", NoticesHandler),
        *admin_handlers(),
        (r"/datalab/static/(.*)", AssetHandler),
    ]
