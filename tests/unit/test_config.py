"""One configuration of the datalab becomes that of JupyterHub, and leaves the operator's alone."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.auth import DummyAuthenticator, PAMAuthenticator
from traitlets.config import Config

from sardonyx_hub.auth import DatalabAuthenticatorMixin
from sardonyx_hub.build import build_datalab
from sardonyx_hub.config import CUSTOM_SCOPES, SERVER_SCOPES, configure
from sardonyx_hub.settings import Sardonyx


def minimal(tmp_path: Path, **settings: Any) -> Config:
    config = Config()
    config.Sardonyx.state_dir = str(tmp_path / "state")
    config.Sardonyx.issuer_url = "http://127.0.0.1:8000/hub/datalab/oidc"
    for name, value in settings.items():
        config.Sardonyx[name] = value
    return config


def test_people_and_sessions_get_their_scopes_and_nothing_more(tmp_path: Path) -> None:
    config = minimal(tmp_path)
    configure(config)
    hub = config.JupyterHub
    assert hub.custom_scopes == CUSTOM_SCOPES
    assert hub.extra_user_scopes == {f"{scope}!user" for scope in CUSTOM_SCOPES}
    assert {"name": "server", "scopes": SERVER_SCOPES} in hub.load_roles
    assert not any("auth_state" in scope for scope in [*hub.extra_user_scopes, *SERVER_SCOPES])


@pytest.mark.parametrize(
    ("chosen", "base"),
    [
        (None, PAMAuthenticator),
        ("dummy", DummyAuthenticator),
        ("jupyterhub.auth.DummyAuthenticator", DummyAuthenticator),
        (DummyAuthenticator, DummyAuthenticator),
    ],
)
def test_the_operator_s_authenticator_is_wrapped(tmp_path: Path, chosen: Any, base: type) -> None:
    config = minimal(tmp_path)
    if chosen is not None:
        config.JupyterHub.authenticator_class = chosen
    datalab = configure(config)
    found = config.JupyterHub.authenticator_class
    assert issubclass(found, base)
    assert issubclass(found, DatalabAuthenticatorMixin)
    assert found.datalab is datalab


def test_what_the_operator_had_set_stays(tmp_path: Path) -> None:
    config = minimal(tmp_path)
    config.JupyterHub.allow_named_servers = False
    config.JupyterHub.load_roles = [{"name": "teacher", "scopes": ["groups"]}]
    config.JupyterHub.tornado_settings = {"cookie_options": {"SameSite": "Strict"}}
    config.JupyterHub.extra_user_scopes = {"access:services"}
    config.JupyterHub.template_paths = ["/srv/templates"]
    datalab = configure(config)
    hub = config.JupyterHub
    assert hub.allow_named_servers is False
    assert hub.load_roles[0]["name"] == "teacher"
    assert hub.tornado_settings["cookie_options"] == {"SameSite": "Strict"}
    assert hub.tornado_settings["sardonyx"] is datalab
    assert "access:services" in hub.extra_user_scopes
    assert hub.template_paths[0] == "/srv/templates"


def test_configuration_is_copied_and_the_datalab_is_not(tmp_path: Path) -> None:
    config = minimal(tmp_path)
    datalab = configure(config)
    copied = copy.deepcopy(config)
    assert copied.JupyterHub.tornado_settings["sardonyx"] is datalab
    assert copied.DatalabSpawnerMixin.bundle_hook.__self__ is datalab


def test_a_missing_issuer_is_named() -> None:
    with pytest.raises(ValueError, match=r"Sardonyx\.issuer_url"):
        build_datalab(Sardonyx())


def test_backends_that_are_not_configured_are_left_out(tmp_path: Path) -> None:
    datalab = build_datalab(Sardonyx(config=minimal(tmp_path)))
    assert (datalab.provisioner, datalab.secrets, datalab.git_accounts) == (None, None, None)


def test_backends_that_are_configured_are_there(tmp_path: Path) -> None:
    admin = tmp_path / "admin.json"
    admin.write_text(json.dumps({"access_key": "a", "secret_key": "b"}))
    config = minimal(
        tmp_path,
        s3_endpoint_url="https://s3.test",
        s3_admin_file=str(admin),
        vault_url="https://vault.test",
        shared_buckets=[{"name": "teaching", "write": ["@project-teachers"]}],
    )
    datalab = build_datalab(Sardonyx(config=config))
    assert datalab.provisioner is not None
    assert datalab.secrets is not None
    assert datalab.git_accounts is not None
    assert datalab.handles.handle_for("teaching") != "teaching"


def test_what_is_recorded_just_before_the_hub_stops_is_written(tmp_path: Path) -> None:
    program = f"""
from sardonyx_hub.build import build_datalab
from sardonyx_hub.settings import Sardonyx
from sardonyx_hub.credentials.model import Subject
settings = Sardonyx(state_dir={str(tmp_path)!r}, issuer_url="http://127.0.0.1:8000/hub/datalab/oidc")
audit = build_datalab(settings).audit
for number in range(500):
    audit.secret(Subject("alice"), "read", f"secret-{{number}}", request_id="r")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert "secret-499" in lines[-1]
    assert len(lines) == 500
