"""Whose credentials a request gets, from its scopes alone."""

from __future__ import annotations

import pytest

from sardonyx_hub.api.scopes import (
    AmbiguousError,
    ForbiddenError,
    Target,
    covers_person,
    credentials_target,
)

S = "custom:datalab:credentials"
RUN1, RUN2, DEFAULT = f"{S}!server=alice/run1", f"{S}!server=alice/run2", f"{S}!server=alice/"
PERSON = f"{S}!user=alice"


@pytest.mark.parametrize(
    ("scopes", "session", "expected"),
    [
        ({RUN1}, None, "run1"),
        ({RUN1}, "run1", "run1"),
        ({DEFAULT}, None, ""),
        ({DEFAULT}, "", ""),
        ({RUN1, RUN2}, "run2", "run2"),
        ({PERSON}, None, None),
        ({PERSON}, "run1", "run1"),
        ({PERSON}, "", ""),
        ({S}, None, None),
        ({PERSON, RUN1}, None, None),
    ],
)
def test_allowed(scopes: set[str], session: str | None, expected: str | None) -> None:
    assert credentials_target(scopes, "alice", session) == Target(expected)


@pytest.mark.parametrize(
    ("scopes", "session"),
    [
        (set(), None),
        ({RUN1}, "run2"),
        ({RUN1}, ""),
        ({DEFAULT}, "run1"),
        ({f"{S}!server=bob/run1"}, None),
        ({f"{S}!user=bob"}, None),
        ({f"{S}!user=alice2"}, None),
        ({f"{S}!server=alice"}, None),
        ({"custom:datalab:secrets!user=alice"}, None),
        ({"custom:datalab:credentials2!user=alice"}, None),
        ({f"{S}!user"}, None),
    ],
)
def test_forbidden(scopes: set[str], session: str | None) -> None:
    with pytest.raises(ForbiddenError, match=S):
        credentials_target(scopes, "alice", session)


def test_several_sessions_need_a_name() -> None:
    with pytest.raises(AmbiguousError, match="session"):
        credentials_target({RUN1, RUN2}, "alice", None)


def test_a_sessions_scope_does_not_cover_the_person() -> None:
    assert not covers_person({RUN1, DEFAULT}, S, "alice")
    assert covers_person({PERSON}, S, "alice")
