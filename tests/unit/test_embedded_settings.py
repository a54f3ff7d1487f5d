"""The settings that the parts share, and what an operator may choose."""

from pathlib import Path

import pytest

from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.embedded import options
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.options import RunOptions, keep_password
from sardonyx_hub.embedded.ports import Ports
from sardonyx_hub.embedded.settings import EmbeddedSettings


def settings(home: Path, ttl: int = 3600) -> EmbeddedSettings:
    return EmbeddedSettings(
        home=home,
        port=8000,
        ports=Ports.free(),
        ttl=ttl,
        shared_buckets=(SharedBucket("teaching", write=("@teachers",)),),
        environments={"jupyter-python": home / "environment"},
        mc_directory=home / "mc",
    )


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = settings(tmp_path)
    assert EmbeddedSettings.load(written.save()) == written


def test_settings_hold_no_secret_and_are_private(tmp_path: Path) -> None:
    written = settings(tmp_path)
    keep_password(written.password_file, "hunter2-hunter2")
    path = written.save()
    assert "hunter2" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("ttl", "asked"), [(20, None), (899, None), (900, 900), (3600, 3600)])
def test_a_short_life_is_not_asked_for(tmp_path: Path, ttl: int, asked: int | None) -> None:
    assert settings(tmp_path, ttl).s3_duration == asked


def test_a_random_password_is_kept_and_may_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "password"
    assert keep_password(path, "")
    first = path.read_text()
    assert len(first.strip()) == 16
    assert keep_password(path, "")
    assert path.read_text() == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_chosen_password_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "password"
    keep_password(path, "")
    assert not keep_password(path, "chosen")
    assert path.read_text() == "chosen\n"


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"port": 0}, "set PORT"),
        ({"port": 70_000}, "set PORT"),
        ({"ttl": 1}, "set SARDONYX_CREDENTIAL_TTL"),
        ({"ttl": 100_000}, "set SARDONYX_CREDENTIAL_TTL"),
        ({"catalogue_file": Path("/nowhere/catalogue.yaml")}, "/nowhere/catalogue.yaml does not exist"),
    ],
)
def test_choices_out_of_range_are_one_line(tmp_path: Path, choice: dict[str, object], line: str) -> None:
    with pytest.raises(StartError) as caught:
        RunOptions(home=tmp_path, **choice).check()  # type: ignore[arg-type]
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "free_bytes", lambda path: 3 << 20)
    with pytest.raises(StartError, match="disk: only 3 MB are free"):
        RunOptions(home=tmp_path).check()
