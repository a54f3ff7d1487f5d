"""The credentials document, the schedule, and what follows from them: pure functions by tables."""

from __future__ import annotations

from typing import Any

import pytest

from sardonyx_session import document, schedule


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T00:00:00.5Z", 1767225600.5),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("2026-01-01T01:00:00+01:00", 1767225600.0),
        ("2026-01-01T00:00:00", 1767225600.0),
        ("tomorrow", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    assert document.parse_time(text) == seconds


def test_a_time_is_written_as_it_is_read() -> None:
    assert document.format_time(1767225600.9) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"version": 2},
        {"version": 1, "s3": []},
        {"version": 1, "git": {}},
        {"version": 1, "environment": ["A=b"]},
        {"version": 1, "problems": "down"},
    ],
)
def test_what_is_no_document_is_refused(value: object) -> None:
    with pytest.raises(document.DocumentError):
        document.check_document(value)


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(document.DocumentError) as caught:
        document.check_document({"version": 1, "s3": "secret-key"})
    assert "secret-key" not in str(caught.value)


def test_variables_that_no_process_can_have_are_named() -> None:
    good, bad = document.clean_environment(
        {"A": "1", "B_2": "", "a-b": "x", "1A": "x", "C": "x\0y", "D": 5, "": "x"}
    )
    assert good == {"A": "1", "B_2": ""}
    assert bad == ["a-b", "1A", "C", "D", ""]


NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"
NOON_SECONDS = 1767268800.0


@pytest.mark.parametrize(
    ("fields", "date", "now"),
    [
        ({"issued_at": NOON, "expires_at": LATER}, None, NOON_SECONDS),
        ({"issued_at": NOON, "expires_at": LATER}, NOON_SECONDS - 300, NOON_SECONDS),
        # kept in the hub's cache for ten minutes
        ({"issued_at": NOON, "expires_at": LATER}, NOON_SECONDS + 600, NOON_SECONDS + 600),
        # a proxy with another idea of the time
        ({"issued_at": NOON, "expires_at": LATER}, NOON_SECONDS + 86400, NOON_SECONDS),
        ({"issued_at": NOON}, NOON_SECONDS + 5, NOON_SECONDS + 5),
        ({}, NOON_SECONDS, NOON_SECONDS),
        ({}, None, None),
    ],
)
def test_the_hub_s_clock(fields: dict[str, str], date: float | None, now: float | None) -> None:
    assert document.hub_now(fields, date) == now


@pytest.mark.parametrize(
    ("fields", "life"),
    [
        ({}, None),
        ({"s3": None, "vault": None, "git": []}, None),
        ({"expires_at": LATER}, 3600.0),
        ({"s3": {"expiration": LATER}}, 3600.0),
        ({"s3": {"expiration": LATER}, "vault": {"expiration": "2026-01-01T12:10:00Z"}}, 600.0),
        ({"s3": {"expiration": LATER}, "expires_at": "2026-01-01T12:05:00Z"}, 300.0),
        ({"s3": {"expiration": "2026-01-01T11:59:00Z"}}, -60.0),
    ],
)
def test_the_shortest_life(fields: dict[str, Any], life: float | None) -> None:
    assert document.shortest_life(fields, NOON_SECONDS) == life


OLD = {"s3": {"access_key_id": "old"}, "vault": {"token": "old"}, "git": [{"host": "old"}]}


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        ({"s3": {"access_key_id": "new"}, "vault": None, "git": []}, {"s3": "new", "vault": None, "git": []}),
        (
            {"s3": None, "vault": None, "git": [], "problems": [{"source": "s3", "code": "timeout"}]},
            {"s3": "old", "vault": None, "git": []},
        ),
        (
            {
                "s3": None,
                "git": [],
                "problems": [{"source": "git"}, {"source": "vault"}, {"source": "nonsense"}, "x"],
            },
            {"s3": None, "vault": {"token": "old"}, "git": [{"host": "old"}]},
        ),
    ],
)
def test_what_could_not_be_asked_is_kept(new: dict[str, Any], kept: dict[str, Any]) -> None:
    merged = document.merge(OLD, new)
    found = {key: merged.get(key) for key in kept}
    if found["s3"]:
        found["s3"] = found["s3"]["access_key_id"]
    assert found == kept


@pytest.mark.parametrize("life", [5.0, 60.0, 900.0, 3600.0, 43200.0])
@pytest.mark.parametrize("spread", [0.0, 0.5, 0.999])
def test_renewal_is_at_60_percent(life: float, spread: float) -> None:
    assert 0.55 * life <= schedule.renewal_delay(life, spread) <= 0.65 * life


@pytest.mark.parametrize("life", [-100.0, 0.0, 0.5])
def test_renewal_never_runs_wild(life: float) -> None:
    assert schedule.renewal_delay(life, 0.0) == 1.0


def test_what_never_ends_is_still_read_again() -> None:
    assert 0 < schedule.renewal_delay(None, 0.5) <= 900


def test_back_off_grows_and_stays_under_ten_seconds() -> None:
    delays = [schedule.backoff_delay(failures, 1.0) for failures in range(1, 100)]
    assert delays == sorted(delays)
    assert delays[0] <= 0.5
    assert delays[-1] == 8.0
    assert schedule.backoff_delay(5, 0.0) < schedule.backoff_delay(5, 0.9)


@pytest.mark.parametrize(("asked", "least", "most"), [(0, 1, 1.1), (4, 4, 4.4), (1e9, 600, 660)])
def test_retry_after(asked: float, least: float, most: float) -> None:
    assert least <= schedule.retry_after_delay(asked, 0.0) <= schedule.retry_after_delay(asked, 1.0) <= most


def test_a_refusal_is_left_alone_for_long() -> None:
    assert schedule.denied_delay(1, 0.0) >= 500
    assert schedule.denied_delay(50, 1.0) == 3600
