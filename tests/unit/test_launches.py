"""Names that the hub gives to new sessions, and forms that are posted twice."""

from __future__ import annotations

import pytest
from jupyterhub.slugs import is_valid_safe_slug

from sardonyx_hub.pages.assets import ASSETS, asset_url
from sardonyx_hub.pages.launches import RecentLaunches, make_server_name


@pytest.mark.parametrize(
    ("service", "begins"),
    [
        ("jupyter-python", "jupyter-python-"),
        ("Jupyter_Python.3", "jupyter-python-3-"),
        ("3d--tools-", "session-3d-tools-"),
        ("é", "e-"),
        ("", "session-"),
        ("---", "session-"),
        ("統計", "session-"),
        ("a" * 63, "a" * 25 + "-"),
        ("a" * 24 + "-b", "a" * 24 + "-"),
        ("<script>", "script-"),
    ],
)
def test_names_are_valid(service: str, begins: str) -> None:
    for _ in range(50):
        name = make_server_name(service, ())
        assert is_valid_safe_slug(name), name
        assert name.startswith(begins)


def test_taken_names_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("aaaaaaaabbbb")
    monkeypatch.setattr("sardonyx_hub.pages.launches.secrets.choice", lambda _: next(letters))
    assert make_server_name("r", {"r-aaaa"}) == "r-bbbb"


def test_a_form_is_remembered_for_its_person_and_its_time() -> None:
    now = [100.0]
    recent = RecentLaunches(life=10, clock=lambda: now[0])
    recent.note("alice", "form", "")
    recent.note("alice", "", "x")
    assert recent.find("alice", "form") == ""
    assert recent.find("bob", "form") is None
    assert recent.find("alice", "") is None
    now[0] = 111.0
    assert recent.find("alice", "form") is None
    recent.note("alice", "other", "x")
    recent.release("alice", "other")
    assert recent.find("alice", "other") is None


def test_a_form_of_a_session_that_has_ended_launches_again() -> None:
    now = [100.0]
    running = {"mine"}
    recent = RecentLaunches(clock=lambda: now[0])
    recent.note("alice", "form", "mine")
    now[0] += 300
    assert recent.find("alice", "form", running.__contains__) == "mine"
    running.clear()
    assert recent.find("alice", "form", running.__contains__) is None
    recent.note("alice", "form", "other")
    assert recent.find("alice", "form", running.__contains__) == "other"  # noted, and about to start


def test_assets_have_the_hash_of_their_content() -> None:
    url = asset_url("/base/hub/", "form.css")
    assert url is not None
    assert url.startswith("/base/hub/datalab/static/form.css?v=")
    assert asset_url("/hub/", "../spawn.py") is None
    assert asset_url("/hub/", "icons") is None
    assert asset_url("/hub/", "nothing.css") is None
    assert (ASSETS / "form.css").is_file()
