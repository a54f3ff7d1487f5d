"""The disks of real sessions on this machine: kept, renamed, removed, and nothing else with them."""

from __future__ import annotations

from pathlib import Path

import local_hub
import pytest
from local_hub import Hub

from sardonyx_spawner.launch_errors import LaunchError

pytestmark = pytest.mark.asyncio(loop_scope="module")

hub = local_hub.hub


async def test_deleted_for_ever_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    spawner = await hub.launch("laura", "run1", service="quick")
    disk = hub.disk("laura", "run1")
    other = hub.disk("laura", "other")
    other.mkdir()
    (disk / "link").symlink_to(outside)
    (disk / "closed" / "in").mkdir(parents=True)
    (disk / "closed" / "in").chmod(0)
    await hub.stop(spawner)
    await spawner.delete_forever()
    assert not disk.exists()
    assert other.exists()
    assert (outside / "precious").read_text() == "precious"
    assert not list((hub.home / "disks/.trash").iterdir())


async def test_a_disk_that_is_a_link_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    disk = hub.disk("mallory")
    disk.parent.mkdir(parents=True)
    disk.symlink_to(tmp_path)
    spawner = hub.user("mallory").spawner
    spawner.handle = "mallory"
    await spawner.delete_forever()
    assert (tmp_path / "precious").exists()


async def test_the_end_of_what_never_started_asks_for_no_handle(hub: Hub) -> None:
    """The handle of a person who was just deleted: who asks for it is given a new one for the dead name."""
    spawner = hub.user("nobody").spawner
    asked: list[object] = []
    spawner.handle_hook = asked.append
    await spawner.delete_forever()
    assert asked == []


async def test_renamed_session_keeps_its_disk(hub: Hub) -> None:
    spawner = await hub.launch("nina", "old", service="quick")
    (hub.disk("nina", "old") / "work" / "kept").write_text("kept")
    await hub.stop(spawner)
    await spawner.rename("old", "new")
    assert (hub.disk("nina", "new") / "work" / "kept").exists()
    assert not hub.disk("nina", "old").exists()


async def test_unnamed_session_and_one_called_default_have_a_disk_each(hub: Hub) -> None:
    user = hub.user("olga")
    unnamed = (await user.spawner._folders()).disk
    named = (await user.get_or_create_spawner("default", "")._folders()).disk
    assert unnamed != named


async def test_a_home_that_cannot_be_written_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.app.config.LocalDatalabSpawner, "home", str(hub.home / "keys"))
    with pytest.raises(LaunchError, match="disk cannot be written"):
        await hub.launch("peggy", service="quick")
