"""Who may see and do what in the admin panel, from JupyterHub's scopes alone. Pure.

`admin-ui` opens the panel; what it shows and does is granted separately, as on JupyterHub's own admin page
(https://jupyterhub.readthedocs.io/en/stable/rbac/scopes.html). Whoever has ``list:users`` or ``read:servers`` over a group
(``!group=NAME``) is a manager of it and sees that group only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

#: Scopes whose filter by group makes a manager. Not `read:users:name`: sharing gives it to people who manage nobody.
_SEEING = ("list:users", "read:servers")


@dataclass(frozen=True)
class Rights:
    """What the scopes of one request allow.

    Parameters
    ----------
    scopes
        JupyterHub's parsed scopes: name -> ``Scope.ALL``, or kind of filter -> names.

    Examples
    --------
    >>> rights = Rights({"list:users": {"group": {"team"}}})
    >>> rights.enters, rights.covers("list:users", "alice", {"team"}), rights.covers("list:users", "bob", ())
    (True, True, False)
    """

    scopes: Mapping[str, Any]

    @property
    def administers(self) -> bool:
        """Whether the panel is open with all its rooms."""
        return "admin-ui" in self.scopes

    @property
    def groups(self) -> frozenset[str]:
        """Groups whose people or sessions the request may see."""
        found: set[str] = set()
        for scope in _SEEING:
            names = self._names(scope, "group")
            found.update(names)
        return frozenset(found)

    @property
    def enters(self) -> bool:
        """Whether the panel is open at all."""
        return self.administers or bool(self.groups)

    def everywhere(self, scope: str) -> bool:
        """Return whether the request has a scope over everybody and everything."""
        return scope in self.scopes and not isinstance(self.scopes[scope], Mapping)

    def covers(self, scope: str, person: str, groups: Collection[str], session: str | None = None) -> bool:
        """Return whether the request has a scope over a person, who is in `groups`, or over one session of theirs."""
        if self.everywhere(scope):
            return True
        if person in self._names(scope, "user") or not self._names(scope, "group").isdisjoint(groups):
            return True
        return session is not None and f"{person}/{session}" in self._names(scope, "server")

    def sees_person(self, person: str, groups: Collection[str]) -> bool:
        """Return whether the panel shows a person."""
        return self.covers("list:users", person, groups)

    def sees_session(self, person: str, groups: Collection[str], session: str) -> bool:
        """Return whether the panel shows a session."""
        return self.covers("read:servers", person, groups, session)

    def sees_group(self, group: str) -> bool:
        """Return whether the panel shows a group."""
        return self.everywhere("list:groups") or group in self.groups

    @property
    def sets_quotas_of_people(self) -> bool:
        """Whether the request may change people's quotas: a manager may not, they would lift their own limits."""
        return self.administers and self.everywhere("admin:users")

    @property
    def sets_quotas_of_groups(self) -> bool:
        """Whether the request may change groups' quotas."""
        return self.administers and self.everywhere("admin:groups")

    @property
    def runs_the_datalab(self) -> bool:
        """Whether the request may announce something to everybody and have the catalogue read again."""
        return self.administers and self.everywhere("admin:users")

    def _names(self, scope: str, kind: str) -> frozenset[str]:
        held = self.scopes.get(scope)
        return frozenset(held.get(kind, ())) if isinstance(held, Mapping) else frozenset()
