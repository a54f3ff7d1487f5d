"""The authenticator mixin: one refresh for all who ask at once, handles at sign-in and deletion, embedded accounts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.auth import Authenticator, DummyAuthenticator, PAMAuthenticator
from oauthenticator.generic import GenericOAuthenticator

from sardonyx_hub import auth
from sardonyx_hub.auth import DatalabAuthenticatorMixin, EmbeddedAuthenticator, wrap_authenticator


class FakeDatalab:
    """Records what the authenticator tells the datalab."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def welcome(self, name: str, subject: str | None) -> None:
        self.told.append(("welcome", name, subject))

    def attach(self, app: Any) -> None:
        self.told.append(("attach", app))

    def farewell(self, name: str) -> None:
        self.told.append(("farewell", name))


class User:
    def __init__(self, name: str = "alice") -> None:
        self.name = name
        self.saved: list[Any] = []

    async def save_auth_state(self, state: Any) -> None:
        self.saved.append(state)


class Slow(Authenticator):
    """An identity provider that accepts each refresh token once, as with "revoke refresh token"."""

    answer: Any = None
    refreshes = 0

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        self.refreshes += 1
        await asyncio.sleep(0.05)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make(base: type[Authenticator] = Slow, **attributes: Any) -> Any:
    authenticator = wrap_authenticator(base, FakeDatalab())()  # type: ignore[arg-type]
    for name, value in attributes.items():
        setattr(authenticator, name, value)
    return authenticator


async def test_twenty_concurrent_requests_make_one_refresh_and_save_it_once() -> None:
    model = {"name": "alice", "auth_state": {"refresh_token": "second"}}
    authenticator, user = make(answer=model, enable_auth_state=True), User()
    answers = await asyncio.gather(*(authenticator.refresh_user(user) for _ in range(20)))
    assert authenticator.refreshes == 1
    assert answers.count(model) == 1
    assert answers.count(True) == 19
    assert user.saved == [model["auth_state"]]


async def test_a_request_just_behind_a_refresh_makes_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator, user = make(answer=True), User()
    await authenticator.refresh_user(user)
    assert await authenticator.refresh_user(user) is True
    assert authenticator.refreshes == 1
    monkeypatch.setattr(auth, "_SHARED_FOR", 0.0)
    await authenticator.refresh_user(user)
    assert authenticator.refreshes == 2


async def test_each_person_is_refreshed_for_themselves() -> None:
    authenticator = make(answer=True)
    await asyncio.gather(*(authenticator.refresh_user(User(name)) for name in ("alice", "bob")))
    assert authenticator.refreshes == 2


@pytest.mark.parametrize("answer", [False, None])
async def test_a_refused_refresh_is_refused_for_all_and_tried_again_later(answer: Any) -> None:
    authenticator, user = make(answer=answer), User()
    answers = await asyncio.gather(*(authenticator.refresh_user(user) for _ in range(3)))
    assert not any(answers)
    await authenticator.refresh_user(user)
    assert authenticator.refreshes == 2


async def test_a_failing_refresh_fails_for_all_who_waited_and_heals() -> None:
    authenticator, user = make(answer=ConnectionError("down")), User()
    answers = await asyncio.gather(
        *(authenticator.refresh_user(user) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [ConnectionError] * 3
    authenticator.answer = True
    assert await authenticator.refresh_user(user) is True


async def test_who_stops_waiting_does_not_stop_it_for_the_others() -> None:
    authenticator, user = make(answer=True), User()
    first = asyncio.create_task(authenticator.refresh_user(user))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(authenticator.refresh_user(user)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    first.cancel()
    assert await waiting[1] is True


@pytest.mark.parametrize("base", [DummyAuthenticator, PAMAuthenticator, GenericOAuthenticator, Slow])
def test_any_authenticator_can_be_wrapped(base: type[Authenticator]) -> None:
    wrapped = wrap_authenticator(base, FakeDatalab())  # type: ignore[arg-type]
    assert issubclass(wrapped, base)
    paths = [path for path, *_ in wrapped().get_handlers(None)]
    assert r"/spawn" in paths
    assert any("oidc" in path for path in paths)
    assert any("credentials" in path for path in paths)
    own = [path for path, *_ in base().get_handlers(None)]
    assert paths[-len(own) :] == own


@pytest.mark.parametrize(
    ("state", "claim", "subject"),
    [
        (None, "sub", None),
        ({}, "sub", None),
        ({"oauth_user": {"sub": "f3"}}, "sub", "f3"),
        ({"oauth_user": {"sub": "f3", "oid": 7}}, "oid", "7"),
        ({"oauth_user": "nonsense"}, "sub", None),
    ],
)
async def test_a_handle_is_bound_to_the_provider_s_identifier(
    state: Any, claim: str, subject: str | None
) -> None:
    authenticator = make(subject_claim=claim)
    await authenticator.run_post_auth_hook(None, {"name": "alice", "auth_state": state})
    assert authenticator.datalab.told == [("welcome", "alice", subject)]


def test_a_deleted_person_s_handle_is_retired() -> None:
    authenticator = make()
    authenticator.delete_user(User())
    assert authenticator.datalab.told == [("farewell", "alice")]


@pytest.mark.parametrize(
    ("name", "password", "right"),
    [
        ("alice", "correct horse", True),
        ("admin", "correct horse", True),
        ("alice", "wrong", False),
        ("alice", "", False),
        ("mallory", "correct horse", False),
        ("", "correct horse", False),
        ("alice", "né\U0001f40e", False),
    ],
)
async def test_embedded_accounts(tmp_path: Path, name: str, password: str, right: bool) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    authenticator = EmbeddedAuthenticator(
        password_file=str(file), allowed_users={"alice", "bob"}, admin_users={"admin"}
    )
    found = await authenticator.authenticate(None, {"username": name, "password": password})
    assert found == (name if right else None)


def test_wrapping_twice_adds_nothing() -> None:
    datalab: Any = FakeDatalab()
    twice = wrap_authenticator(wrap_authenticator(Slow, datalab), datalab)
    assert [base for base in twice.__mro__ if base is DatalabAuthenticatorMixin] == [
        DatalabAuthenticatorMixin
    ]
