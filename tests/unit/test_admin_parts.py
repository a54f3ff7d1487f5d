"""The admin panel's pure parts: rights from scopes, lists, health in words, announcements that end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.scopes import parse_scopes

from sardonyx_hub.admin import health
from sardonyx_hub.admin.announcing import AnnouncementError, has_ended, read_announcement
from sardonyx_hub.admin.health import Backends, Check, check_disk, check_issuer, check_sts, check_vault
from sardonyx_hub.admin.listing import ListingError, Request, cut, read_request
from sardonyx_hub.admin.rights import Rights
from sardonyx_hub.pages.messages import LANGUAGES, PageMessages

# Rights --------------------------------------------------------------------------------------------------------------


def rights(*scopes: str) -> Rights:
    return Rights(parse_scopes(frozenset(scopes)))


@pytest.mark.parametrize(
    ("scopes", "enters", "groups"),
    [
        ((), False, set()),
        (("read:users!user=alice", "list:users!user=alice", "read:servers!user=alice"), False, set()),
        (("read:users:name", "read:groups:name"), False, set()),
        (("read:users:name!group=team",), False, set()),
        (("admin-ui",), True, set()),
        (("list:users!group=team",), True, {"team"}),
        (("read:servers!group=a", "list:users!group=b"), True, {"a", "b"}),
    ],
)
def test_who_enters(scopes: tuple[str, ...], enters: bool, groups: set[str]) -> None:
    found = rights(*scopes)
    assert (found.enters, found.groups) == (enters, groups)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("delete:servers", True),
        ("delete:servers!user=bob", True),
        ("delete:servers!group=team", True),
        ("delete:servers!server=bob/run", True),
        ("delete:servers!server=bob/other", False),
        ("delete:servers!group=others", False),
        ("delete:servers!user=alice", False),
        ("read:servers", False),
    ],
)
def test_what_a_scope_covers(scope: str, covered: bool) -> None:
    assert rights(scope).covers("delete:servers", "bob", {"team"}, "run") is covered


def test_a_manager_lifts_no_limit() -> None:
    manager = rights("admin:users!group=team", "admin:groups!group=team", "list:users!group=team")
    assert not manager.sets_quotas_of_people
    assert not manager.sets_quotas_of_groups
    assert not manager.runs_the_datalab
    # Who may change everything, but was not given the panel.
    assert not rights("admin:users").sets_quotas_of_people
    assert rights("admin-ui", "admin:users").sets_quotas_of_people


# Lists ---------------------------------------------------------------------------------------------------------------

ROWS = [("Élise", 3), ("bob", None), ("alice", 1), ("Anaïs", 2)]


def names(**given: Any) -> list[str]:
    request = Request(**{"sort": "name", **given})
    part = cut(
        ROWS,
        request,
        texts=lambda row: [row[0]],
        filters={"odd": lambda row, value: (row[1] or 0) % 2 == int(value == "yes")},
        columns={"name": lambda row: row[0].lower(), "size": lambda row: row[1]},
    )
    return [row[0] for row in part.rows]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["alice", "Anaïs", "bob", "Élise"]),
        ({"sort": "-size"}, ["Élise", "Anaïs", "alice", "bob"]),
        ({"sort": "size"}, ["alice", "Anaïs", "Élise", "bob"]),
        ({"search": "ELI"}, ["Élise"]),
        ({"search": "anais"}, ["Anaïs"]),
        ({"search": "a i"}, ["alice", "Anaïs"]),
        ({"filters": {"odd": "yes"}}, ["alice", "Élise"]),
        ({"offset": 1, "limit": 2}, ["Anaïs", "bob"]),
        ({"offset": 9}, []),
    ],
)
def test_rows_are_searched_filtered_sorted_and_cut(given: Mapping[str, Any], expected: list[str]) -> None:
    assert names(**given) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sort": "colour"}, "sort"),
        ({"sort": "--name"}, "sort"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "١"}, "offset"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, str], named: str) -> None:
    with pytest.raises(ListingError, match=f"'{named}'"):
        read_request(arguments, ["odd"], ["name"], "name")


# Health --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(answers: Mapping[str, tuple[int, str]]) -> AsyncIterator[str]:
    """Answer requests to paths with a status and a body; `{url}` in a body is the server's own address."""
    address = ""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, text = answers.get(head.split()[1].partition("?")[0], (404, ""))
        body = text.replace("{url}", address).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield address
    finally:
        server.close()


def said(check: Check) -> tuple[str, str]:
    """Return verdict and finding; the sentence has to be there in every language."""
    for language in LANGUAGES:
        assert PageMessages(language).translate(check.key, **check.params)
    return check.verdict, check.finding


@pytest.mark.parametrize(
    ("status", "state", "expected"),
    [
        (200, {"initialized": True, "sealed": False}, ("ok", "well")),
        (200, {"initialized": True, "sealed": True}, ("down", "sealed")),
        (200, {"initialized": False, "sealed": True}, ("down", "uninitialized")),
        (500, {}, ("down", "error")),
    ],
)
async def test_the_state_of_vault(status: int, state: Any, expected: tuple[str, str]) -> None:
    async with answering({"/v1/sys/health": (status, json.dumps(state))}) as url:
        assert said(await check_vault(Backends(vault_url=url))) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<Error><Code>AccessDenied</Code></Error>", ("ok", "well")),
        ("<Error><Code>InternalError</Code></Error>", ("down", "odd")),
        ("hello", ("down", "odd")),
    ],
)
async def test_sts_has_to_refuse_a_token_that_is_none(body: str, expected: tuple[str, str]) -> None:
    async with answering({"/": (403, body)}) as url:
        assert said(await check_sts(Backends(s3_url=url))) == expected


@pytest.mark.parametrize(
    ("discovery", "keys", "expected"),
    [
        ({"issuer": "{url}", "jwks_uri": "{url}/jwks"}, {"keys": [{}]}, ("ok", "well")),
        ({"issuer": "{url}", "jwks_uri": "{url}/jwks"}, {"keys": []}, ("down", "keyless")),
        ({"issuer": "http://other", "jwks_uri": "{url}/jwks"}, {"keys": [{}]}, ("down", "other")),
    ],
)
async def test_the_issuer_has_its_name_and_keys(discovery: Any, keys: Any, expected: tuple[str, str]) -> None:
    answers = {
        "/.well-known/openid-configuration": (200, json.dumps(discovery)),
        "/jwks": (200, json.dumps(keys)),
    }
    async with answering(answers) as url:
        assert said(await check_issuer(Backends(issuer_url=url))) == expected
    async with answering({}) as url:
        assert said(await check_issuer(Backends(issuer_url=url))) == ("down", "error")


async def test_a_part_that_does_not_answer_is_told_by_kind_and_without_its_address() -> None:
    check = await health._timed(
        "vault", lambda: check_vault(Backends(vault_url="http://user:hunter2@127.0.0.1:1"))
    )
    assert said(check) == ("down", "silent")
    assert "hunter2" not in str(check)


async def test_a_part_that_hangs_is_told_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LIMIT", 0.1)

    async def hangs() -> Check:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    assert said(await health._timed("s3", hangs)) == ("down", "slow")


@pytest.mark.parametrize(("free", "expected"), [(0, "full"), (1 << 30, "little"), (1 << 40, "well")])
async def test_how_much_of_the_disk_is_free(
    free: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage)
    assert said(await check_disk(tmp_path))[1] == expected


def test_every_part_and_verdict_has_a_name_in_every_language() -> None:
    parts = ("s3", "sts", "vault", "issuer", "identity", "database", "documents", "proxy", "disk")
    for language in LANGUAGES:
        messages = PageMessages(language)
        for part in parts:
            assert messages.translate(f"admin.health.{part}")
            assert messages.translate(f"admin.health.{part}.slow", seconds=5)
            assert messages.translate(f"admin.health.{part}.silent", error="ConnectError")
        for verdict in ("ok", "warning", "down", "off"):
            assert messages.translate(f"admin.verdict.{verdict}")


# Announcements -------------------------------------------------------------------------------------------------------


def test_an_announcement_ends_at_its_time_whatever_the_zone() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    zone = soon.astimezone(tz=None).isoformat()
    document = read_announcement({"text": {"fr": "Bonjour"}, "until": zone})
    assert document["until"] == soon.isoformat(timespec="seconds")
    assert not has_ended(document)
    assert has_ended(document, soon + timedelta(seconds=1))


def test_an_announcement_without_a_time_does_not_end() -> None:
    assert not has_ended(read_announcement({"text": {"en": "Hello"}}))
    with pytest.raises(AnnouncementError, match="'until'"):
        read_announcement({"text": {"en": "Hello"}, "until": 12})
