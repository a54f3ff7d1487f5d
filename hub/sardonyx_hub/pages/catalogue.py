"""The catalogue, which is the home page: services, saved configurations, what runs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tornado.httputil import url_concat

from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.launch_errors import LaunchError
from sardonyx_spawner.launch_links import launch_link

from ..credentials.errors import SourceError
from ..saved import SavedConfiguration
from ..sessions import describe
from .assets import asset_url
from .base import DatalabPageHandler
from .cards import View, categories_of, icon_address, initials, make_cards
from .markdown import render

#: Seconds that the page waits for the saved configurations; without them it is shown all the same.
_SAVED_SECONDS: Final = 2.0
_MAX_QUERY = 100


@dataclass(frozen=True)
class SavedCard:
    """A saved configuration as the page shows it.

    Parameters
    ----------
    service
        Name of its service; empty if that is not in the person's catalogue any more.
    link
        Its launch link, from the scheme on; empty if it would be too long.
    left_out
        Names of secret variables, whose values are not in the link.
    """

    id: str
    name: str
    service: str
    icon: str
    initials: str
    changed: str
    version: int
    link: str
    left_out: Sequence[str]


class CatalogueHandler(DatalabPageHandler):
    """``/hub/datalab/catalogue``; ``?category=ID&q=WORDS`` also without script."""

    room = "catalogue"

    async def get(self) -> None:
        """Show it. What a backend that is down would tell is missing, and the page says so."""
        services, problem = await self._services()
        category = self.get_query_argument("category", "")
        query = " ".join(self.get_query_argument("q", "").split())[:_MAX_QUERY]
        categories = categories_of(services, self.datalab_language)
        if category not in {one.id for one in categories}:
            category = ""
        saved, saved_problem = await self._saved(services)
        cards = make_cards(services, self._view(category, query))
        home = self.datalab.home
        await self.render_page(
            "datalab/catalogue.html",
            messages=("catalogue.",),
            home_text=render(home.text.in_language(self.datalab_language), headings_from=1)
            if home.text
            else None,
            home_language=home.text.language_of(self.datalab_language),
            links=home.links,
            has_terms=home.terms is not None,
            sessions=self._sessions(),
            cards=cards,
            found=sum(card.shown for card in cards),
            categories=categories,
            category=category,
            query=query,
            catalogue_problem=problem,
            saved=saved,
            saved_problem=saved_problem,
            launch_token=secrets.token_urlsafe(12),
            here=self._here,
        )

    def _here(self, **arguments: str) -> str:
        """Return the address of this page with other arguments; empty ones are left out."""
        url: str = url_concat(self.request.path, {name: text for name, text in arguments.items() if text})
        return url

    def _view(self, category: str, query: str) -> View:
        return View(
            language=self.datalab_language,
            groups=[group.name for group in self.current_user.groups],
            local=bool(getattr(self.current_user.spawner, "sessions_are_local", False)),
            icon_url=self._icon_url,
            category=category,
            query=query,
        )

    def _icon_url(self, name: str) -> str:
        return asset_url(self.hub.base_url, name) or ""

    async def _services(self) -> tuple[list[Service], str]:
        """Return what the person sees of the catalogue, and a key of what is wrong with it."""
        try:
            return await self.datalab.services_for(self.current_user), ""
        except LaunchError:
            return [], "launch.catalogue"

    async def _saved(self, services: Sequence[Service]) -> tuple[list[SavedCard] | None, str]:
        """Return the saved configurations; None where they are not known, with a key of the reason."""
        saved = self.datalab.saved
        if saved is None:
            return None, ""
        try:
            async with asyncio.timeout(_SAVED_SECONDS):
                subject = self.datalab.subject_for(self.current_user)
                listing = await self.datalab.broker.call("vault", saved.list, subject)
        except (SourceError, TimeoutError) as error:
            self.log.info(
                "Saved configurations of %s: %s", self.current_user.name, error or "no answer in time"
            )
            return None, "catalogue.saved.down"
        known = {service.id: service for service in services}
        return [self._saved_card(one, known.get(one.service)) for one in listing.configurations], ""

    def _saved_card(self, one: SavedConfiguration, service: Service | None) -> SavedCard:
        link = launch_link(one.service, one.options, name=one.name)
        name = service.name.in_language(self.datalab_language) if service else ""
        icon = service.icon if service else ""
        return SavedCard(
            id=one.id,
            name=one.name,
            service=name,
            icon=icon_address(icon, self._icon_url),
            initials=initials(name),
            changed=one.changed,
            version=one.version,
            link="" if link.too_long else f"{self._origin}{self.hub.base_url}spawn?{link.query}",
            left_out=link.left_out,
        )

    @property
    def _origin(self) -> str:
        """Where people see the hub: links are pasted into other sites."""
        return f"{self.request.protocol}://{self.request.host}"

    def _sessions(self) -> list[Mapping[str, Any]]:
        """Return the sessions that run or start, those used last first."""
        user = self.current_user
        active = [spawner for spawner in user.spawners.values() if spawner.active]
        found = [self._session(describe(self.datalab, user, spawner)) for spawner in active]
        return sorted(found, key=lambda one: one["last_activity"] or "", reverse=True)

    def _session(self, described: Mapping[str, Any]) -> Mapping[str, Any]:
        name = described["service"]["name"]
        service = name.get(self.datalab_language) or name["en"]
        icon = described["service"]["icon"]
        path = "/".join(
            part for part in ("spawn-pending", self.current_user.escaped_name, described["name"]) if part
        )
        return {
            "name": described["display_name"] or described["name"] or self.t("services.default_name"),
            "service": service,
            "state": described["state"],
            "url": described["url"] or f"{self.hub.base_url}{path}",
            "icon": icon_address(icon, self._icon_url),
            "initials": initials(service),
            "last_activity": described["last_activity"],
        }
