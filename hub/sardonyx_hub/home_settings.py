"""The settings of what an operator says to people; part of :class:`~.config.Sardonyx`."""

from __future__ import annotations

from traitlets import Dict, Unicode, Union
from traitlets.config import Configurable

from .home import Home, read_home

#: What `sardonyx run` says above the catalogue where its operator says nothing.
EMBEDDED_HOME_TEXT = {
    "en": "# Welcome to your datalab\n\nPick a service and press **Launch**: your files on S3, your Git account and your "
    "secrets already work in it, and keep working as long as it runs.",
    "fr": "# Bienvenue dans votre datalab\n\nChoisissez un service et appuyez sur **Lancer**\u202f: vos fichiers sur S3, votre "
    "compte Git et vos secrets y fonctionnent déjà, et continuent de fonctionner tant qu’il est lancé.",
}


class HomeSettings(Configurable):
    """Home text, links, announcement, terms of use, monitoring."""

    home_text = Union(
        [Unicode(), Dict()],
        default_value="",
        config=True,
        help="""
        What people read above the catalogue, in Markdown (no HTML): one text, or one for each language.

        Example::

            c.Sardonyx.home_text = {"en": "# Welcome to the lab", "fr": "# Bienvenue au labo"}

        .. versionadded:: 0.1
        """,
    )
    home_links = Dict(
        config=True,
        help="""
        Addresses of `training`, `documentation` and `support` (there also `mailto:`), shown above the catalogue.

        Example::

            c.Sardonyx.home_links = {
                "training": "https://courses.example.org",
                "documentation": "https://docs.example.org",
                "support": "mailto:help@example.org",
            }

        .. versionadded:: 0.1
        """,
    )
    announcement = Dict(
        config=True,
        help="""
        A sentence on every page, until an administrator edits it in the admin panel: `text` (Markdown of one line, one
        text or one for each language), `level` (`info`, `warning` or `danger`), `dismissable` (whether people can close it).

        Example::

            c.Sardonyx.announcement = {"text": {"en": "Closed on Friday", "fr": "Fermé vendredi"}, "level": "warning"}

        .. versionadded:: 0.1
        """,
    )
    terms = Dict(
        config=True,
        help="""
        Terms of use that people accept before they use the datalab: `version`, and `text` (Markdown) or `url` or both,
        one for all or one for each language. Another version is asked for again. Until then pages lead to the terms, and
        launches and the datalab's API answer 403 with code `terms`; sessions that run keep their credentials.

        Example::

            c.Sardonyx.terms = {"version": "2026-09", "url": "https://www.example.org/terms"}

        .. versionadded:: 0.1
        """,
    )
    monitoring_url = Unicode(
        "",
        config=True,
        help="""
        Where CPU and memory of a session are shown, with the placeholders `{namespace}` (of its pod), `{user}`,
        `{handle}` and `{session}` (name of the server, or `default`); "My services" links to it. Empty: no link.

        Example::

            c.Sardonyx.monitoring_url = "https://grafana.example.org/d/session?var-user={user}&var-session={session}"

        .. versionadded:: 0.1
        """,
    )

    def home(self) -> Home:
        """Return these settings, checked.

        Raises
        ------
        ValueError
            Naming each setting that is wrong and what is allowed.
        """
        names = ("home_text", "home_links", "announcement", "terms", "monitoring_url")
        return read_home({name: getattr(self, name) for name in names})
