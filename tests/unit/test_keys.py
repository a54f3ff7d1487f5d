"""Signing keys: two-phase rotation, revocation, what other processes see, what is on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sardonyx_hub.identity.keys import CLOCK_SKEW, KeyRing, KeyRingError, describe, thumbprint
from sardonyx_hub.keys_cli import ExportKeys, KeyCommand, ListKeys, RevokeKey, RotateKeys


class Clock:
    """Wall clock and monotonic clock in one, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_ring(path: Path, clock: Clock) -> KeyRing:
    return KeyRing(path / "keys", publish_seconds=3600, token_seconds=300, clock=clock, monotonic=clock)


def states(ring: KeyRing) -> dict[str, str]:
    return {item["kid"]: item["state"] for item in describe(ring)}


def test_first_key_signs_at_once(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    kid, private = ring.signing_key()
    assert states(ring) == {kid: "active"}
    assert private.key_size == 2048
    [jwk] = ring.jwks()["keys"]
    assert jwk.keys() == {"kty", "use", "alg", "kid", "n", "e"}


def test_thumbprint_is_that_of_rfc_7638() -> None:
    # The example of section 3.1.
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok"
        "njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6"
        "qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awa"
        "pJzKnqDKgw"
    )
    assert thumbprint(n, "AQAB") == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_rotation_publishes_before_it_signs_and_after_it_signed(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    old, _ = ring.signing_key()
    new = ring.rotate().kid
    assert states(ring) == {new: "next", old: "active"}
    assert {key["kid"] for key in ring.jwks()["keys"]} == {old, new}

    clock.now += 3599
    assert ring.signing_key()[0] == old
    clock.now += 1
    assert ring.signing_key()[0] == new
    assert states(ring) == {new: "active", old: "retired"}

    # The last token of the old key was signed a moment before the change.
    clock.now += 300 + CLOCK_SKEW
    assert old in states(ring)
    clock.now += 1
    assert states(ring) == {new: "active"}
    assert [key["kid"] for key in ring.jwks()["keys"]] == [new]


def test_rotating_twice_makes_one_key(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    assert ring.rotate() == ring.rotate()
    assert len(ring.published()) == 2


def test_a_rotation_a_day_keeps_few_keys_and_files(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    for _ in range(4):
        ring.rotate()
        clock.now += 86_400
        ring.signing_key()
    assert len(ring.published()) == 1
    ring.rotate()
    assert len(list((tmp_path / "keys").glob("*.pem"))) == 2


def test_private_half_of_a_retired_key_is_deleted(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    old, _ = ring.signing_key()
    ring.rotate()
    clock.now += 3601
    restarted = make_ring(tmp_path, clock)
    assert states(restarted)[old] == "retired"
    assert not (tmp_path / "keys" / f"{old}.pem").exists()


@pytest.mark.parametrize("which", ["next", "active", "retired"])
def test_revoked_key_is_gone_at_once_and_an_unknown_one_signs(
    tmp_path: Path, clock: Clock, which: str
) -> None:
    ring = make_ring(tmp_path, clock)
    ring.rotate()
    if which == "retired":
        clock.now += 3601
    [kid] = [kid for kid, state in states(ring).items() if state == which]
    known = set(states(ring))
    new = ring.revoke(kid).kid
    assert new not in known
    assert ring.signing_key()[0] == new
    assert kid not in {key["kid"] for key in ring.jwks()["keys"]}
    assert not (tmp_path / "keys" / f"{kid}.pem").exists()
    assert kid not in states(make_ring(tmp_path, clock))


def test_revoke_takes_the_beginning_of_a_kid(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    kid, _ = ring.signing_key()
    ring.revoke(kid[:8])
    assert kid not in states(ring)


@pytest.mark.parametrize("kid", ["", "nosuchkid"])
def test_revoking_no_key_changes_nothing(tmp_path: Path, clock: Clock, kid: str) -> None:
    ring = make_ring(tmp_path, clock)
    before = ring.jwks()
    with pytest.raises(KeyRingError, match="keys begin with"):
        ring.revoke(kid)
    assert ring.jwks() == before


def test_running_hub_sees_what_the_command_line_did(tmp_path: Path, clock: Clock) -> None:
    hub, command = make_ring(tmp_path, clock), make_ring(tmp_path, clock)
    old, _ = hub.signing_key()
    new = command.revoke(old).kid
    assert hub.signing_key()[0] == old, "no look at the disk within a second"
    clock.now += 1
    assert hub.signing_key()[0] == new
    assert states(hub) == {new: "active"}


def test_no_look_at_the_disk_within_a_second(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = make_ring(tmp_path, clock)
    clock.now += 5
    looks = 0
    stat_file = Path.stat

    def counting(self: Path, *, follow_symlinks: bool = True) -> object:
        nonlocal looks
        looks += self.name == "keys.json"
        return stat_file(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", counting)
    for _ in range(100):
        ring.signing_key()
        ring.jwks()
    assert looks == 1


def test_running_hub_survives_a_damaged_file(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ring = make_ring(tmp_path, clock)
    kid, _ = ring.signing_key()
    (tmp_path / "keys" / "keys.json").write_text("{")
    clock.now += 2
    assert ring.signing_key()[0] == kid
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"version": 1, "keys": []}', '{"version": 2, "keys": []}']
)
def test_damaged_file_is_told_at_start(tmp_path: Path, clock: Clock, text: str) -> None:
    make_ring(tmp_path, clock)
    (tmp_path / "keys" / "keys.json").write_text(text)
    with pytest.raises(KeyRingError, match=r"keys\.json"):
        make_ring(tmp_path, clock)


def test_lost_metadata_do_not_make_new_keys_silently(tmp_path: Path, clock: Clock) -> None:
    make_ring(tmp_path, clock)
    (tmp_path / "keys" / "keys.json").unlink()
    with pytest.raises(KeyRingError, match="missing"):
        make_ring(tmp_path, clock)


def test_lost_private_key_is_named(tmp_path: Path, clock: Clock) -> None:
    kid, _ = make_ring(tmp_path, clock).signing_key()
    (tmp_path / "keys" / f"{kid}.pem").unlink()
    with pytest.raises(KeyRingError, match=kid):
        make_ring(tmp_path, clock).signing_key()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(KeyRingError, match="keys"):
        make_ring(tmp_path, clock)


def test_files_are_private_and_whole(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    ring.rotate()
    folder = tmp_path / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".lock", ".pem", ".pem"]
    pem = (folder / f"{ring.signing_key()[0]}.pem").read_bytes()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(pem, password=None)
    assert json.loads((folder / "keys.json").read_text()).keys() == {"version", "keys"}


def test_a_key_made_readable_is_closed_again(tmp_path: Path, clock: Clock) -> None:
    kid, _ = make_ring(tmp_path, clock).signing_key()
    path = tmp_path / "keys" / f"{kid}.pem"
    path.chmod(0o644)
    make_ring(tmp_path, clock).signing_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_keys(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = make_ring(tmp_path, clock)
    before = ring.jwks()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            ring.rotate()
    assert ring.jwks() == make_ring(tmp_path, clock).jwks() == before
    assert not list((tmp_path / "keys").glob(".tmp-*"))


def test_a_clock_set_back_leaves_a_key(tmp_path: Path, clock: Clock) -> None:
    ring = make_ring(tmp_path, clock)
    kid, _ = ring.signing_key()
    clock.now -= 86_400
    assert make_ring(tmp_path, clock).signing_key()[0] == kid
    assert ring.jwks()["keys"]


def run_command(command: type[KeyCommand], *arguments: str) -> None:
    app = command()
    app.initialize(list(arguments))
    app.start()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SARDONYX_HOME", str(tmp_path))
    return tmp_path


def test_commands(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = KeyRing(home / "state" / "keys")
    first, _ = hub.signing_key()

    run_command(ListKeys)
    assert capsys.readouterr().out.startswith(f"{first}  active")
    run_command(RotateKeys)
    assert "is published and signs from" in capsys.readouterr().out
    run_command(RotateKeys)
    assert "waits already" in capsys.readouterr().out
    run_command(RevokeKey, first[:10])
    assert f"{first} is revoked" in capsys.readouterr().out
    run_command(ListKeys, "--json")
    assert [key["state"] for key in json.loads(capsys.readouterr().out)] == ["next", "active"]
    run_command(ExportKeys, "--issuer-url=https://hub.example/oidc", str(home / "public"))
    assert json.loads((home / "public" / "jwks").read_text()) == KeyRing(home / "state" / "keys").jwks()

    events = [json.loads(line) for line in (home / "state" / "audit.jsonl").read_text().splitlines()]
    assert [event["action"] for event in events] == ["rotate", "revoke"]
    assert events[1]["kid"] == first
    assert events[1]["successor"] in {key.kid for key in KeyRing(home / "state" / "keys").published()}


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (ListKeys, ["--directory=/nonexistent/keys"], "No signing keys in /nonexistent/keys"),
        (RevokeKey, [], "Name one key"),
        (RevokeKey, ["nosuchkid"], "No keys begin with"),
        (ExportKeys, ["folder"], "--issuer-url"),
        (ExportKeys, ["--issuer-url=nonsense", "folder"], "issuer URL"),
    ],
)
def test_wrong_commands_are_one_line(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    command: type[KeyCommand],
    arguments: list[str],
    message: str,
) -> None:
    KeyRing(home / "state" / "keys")
    with pytest.raises(SystemExit) as ended:
        run_command(command, *arguments)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
