"""What operators say to people: settings are checked when the hub starts, and every mistake is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from traitlets.config import Config

from sardonyx_hub.config import configure, configure_embedded
from sardonyx_hub.embedded.ports import Ports, SeaweedPorts
from sardonyx_hub.embedded.settings import EmbeddedSettings
from sardonyx_hub.home import Announcement, Home, Terms, read_home
from sardonyx_hub.home_settings import EMBEDDED_HOME_TEXT
from sardonyx_hub.settings import Sardonyx

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"home_text": {"de": "Hallo"}}, r"Sardonyx\.home_text\.de"),
    ({"home_text": "x" * 20_001}, r"Sardonyx\.home_text"),
    (
        {"home_links": {"news": "https://x.org"}},
        r"Sardonyx\.home_links\.news.*'training', 'documentation' or 'support'",
    ),
    ({"home_links": {"training": "javascript:alert(1)"}}, r"Sardonyx\.home_links: training: .*https://"),
    ({"home_links": {"training": "mailto:a@b.org"}}, r"training"),
    ({"home_links": {"support": "https://user:pw@x.org"}}, r"support"),
    ({"announcement": {"level": "info"}}, r"Sardonyx\.announcement\.text"),
    ({"announcement": {"text": " "}}, r"Sardonyx\.announcement\.text.*not be empty"),
    ({"announcement": {"text": "x" * 1001}}, r"1000 characters"),
    (
        {"announcement": {"text": "x", "level": "loud"}},
        r"Sardonyx\.announcement\.level.*'info', 'warning' or 'danger'",
    ),
    ({"announcement": {"text": "x", "dismissable": "no"}}, r"Sardonyx\.announcement\.dismissable"),
    ({"terms": {"text": "x"}}, r"Sardonyx\.terms\.version"),
    ({"terms": {"version": "1"}}, r"Sardonyx\.terms: .*`text` or `url`"),
    ({"terms": {"version": "1", "url": {"fr": "ftp://x.org"}}}, r"Sardonyx\.terms\.url"),
    ({"monitoring_url": "https://g.org/{usr}"}, r"Sardonyx\.monitoring_url.*\{user\}"),
    ({"monitoring_url": "https://g.org/{user"}, r"monitoring_url"),
    ({"monitoring_url": "https://{user}.g.org/"}, r"path, query or fragment"),
    ({"monitoring_url": "javascript:{user}"}, r"monitoring_url.*https://"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_what_is_wrong_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_home(settings)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"home_text.*; Sardonyx\.monitoring_url"):
        read_home({"home_text": {"de": "x"}, "monitoring_url": "{x}"})


def test_nothing_is_said_by_default() -> None:
    home = read_home(
        {"home_text": "", "home_links": {}, "announcement": {}, "terms": {}, "monitoring_url": ""}
    )
    assert home == Home()
    assert home.monitoring_url_of(user="alice", session="a") == ""


def test_one_language_serves_both_and_says_which_it_is() -> None:
    text = read_home({"home_text": {"fr": "Bonjour"}}).text
    assert [(text.in_language(one), text.language_of(one)) for one in ("en", "fr")] == [("Bonjour", "fr")] * 2
    both = read_home({"home_text": {"fr": "Bonjour", "en": "Hello"}}).text
    assert [both.in_language(one) for one in ("en", "fr", "fr-CA")] == ["Hello", "Bonjour", "Bonjour"]


def test_names_of_people_cannot_leave_their_place_in_the_monitoring_address() -> None:
    home = read_home({"monitoring_url": "https://g.org/d/{handle}?ns={namespace}&s={session}#{user}"})
    found = home.monitoring_url_of(namespace="lab", user="a/b#c", handle="a&b", session="../x y")
    assert found == "https://g.org/d/a%26b?ns=lab&s=..%2Fx%20y#a%2Fb%23c"


def test_terms_are_accepted_by_version() -> None:
    terms = Terms.model_validate({"version": 2, "text": "x"})
    record = terms.record("fr")
    assert terms.accepted_by(record)
    assert not terms.accepted_by(None)
    assert not terms.accepted_by({"version": "1"})
    assert record["accepted"].endswith("Z")


def test_an_announcement_has_an_id_of_its_content() -> None:
    one = Announcement.model_validate({"text": "x"})
    assert one.id == Announcement.model_validate({"text": {"en": "x"}}).id
    assert one.id != Announcement.model_validate({"text": "x", "level": "danger"}).id
    assert Announcement.read({"text": "x", "until": "2026"}) == one
    assert Announcement.read({"text": 3}) is None
    with pytest.raises(ValidationError):
        Announcement.model_validate({"text": "x", "until": "2026"})


def test_settings_reach_the_datalab(tmp_path: Path) -> None:
    config = Config()
    config.Sardonyx.state_dir = str(tmp_path / "state")
    config.Sardonyx.issuer_url = "http://127.0.0.1:8000/hub/datalab/oidc"
    config.Sardonyx.home_text = "# Hello"
    config.Sardonyx.terms = {"version": "1", "url": "https://x.org/terms"}
    datalab = configure(config)
    assert datalab.home.text.en == "# Hello"
    assert datalab.home.terms is not None
    config.Sardonyx.terms = {"version": "1"}
    with pytest.raises(ValueError, match=r"Sardonyx\.terms"):
        configure(config)


@pytest.mark.parametrize(
    ("written", "text"), [("", EMBEDDED_HOME_TEXT["fr"]), ('c.Sardonyx.home_text = "# Ours"', "# Ours")]
)
def test_the_embedded_datalab_greets_and_its_operator_may_too(
    tmp_path: Path, written: str, text: str
) -> None:
    config_file = tmp_path / "sardonyx_config.py"
    config_file.write_text(f"c = get_config()\n{written}\n")
    names = {name: 20_000 + number for number, name in enumerate(SeaweedPorts.__dataclass_fields__)}
    rest = {
        name: 21_000 + number for number, name in enumerate(Ports.__dataclass_fields__) if name != "seaweedfs"
    }
    ports = Ports(**rest, seaweedfs=SeaweedPorts(**names))
    settings = EmbeddedSettings(home=tmp_path, port=8000, ports=ports, config_file=config_file)
    settings.proxy_token_file.write_text("token")
    settings.s3_admin_keys_file.parent.mkdir(parents=True)
    settings.s3_admin_keys_file.write_text('{"access_key": "a", "secret_key": "b"}')
    config = Config()
    datalab = configure_embedded(config, settings)
    assert datalab.home.text.in_language("fr") == text
    assert Sardonyx(config=config).issuer_url == settings.issuer_url
