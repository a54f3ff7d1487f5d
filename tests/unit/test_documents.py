"""Documents: read without I/O, written in order, there again after a restart, and none of one person's for the next."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from sardonyx_hub.documents import MAX_BYTES, DocumentError, DocumentStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


async def test_a_document_is_there_again_after_a_restart(file: Path) -> None:
    store = DocumentStore(file)
    await store.put("quota", "user:élise", {"cpu": "4"})
    await store.put("quota", "user:élise", {"cpu": "2"})
    await store.put("terms", "alice", {"version": 1})
    await store.delete("terms", "alice")
    store.close()

    again = DocumentStore(file)
    assert again.items("quota") == {"user:élise": {"cpu": "2"}}
    assert again.get("terms", "alice") is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again.close()


async def test_writes_end_in_the_order_in_which_they_were_asked_for(file: Path) -> None:
    store = DocumentStore(file)
    await asyncio.gather(*(store.put("announcement", "current", {"number": n}) for n in range(50)))
    assert store.get("announcement", "current") == {"number": 49}
    # A document that is still being written can be deleted.
    await asyncio.gather(store.put("terms", "bob", {}), store.delete("terms", "bob"))
    assert store.get("terms", "bob") is None
    store.close()
    assert DocumentStore(file).get("announcement", "current") == {"number": 49}


async def test_what_is_handed_out_is_a_copy(file: Path) -> None:
    store = DocumentStore(file)
    given = {"groups": ["a"]}
    await store.put("quota", "group:a", given)
    given["groups"].append("b")
    found = store.get("quota", "group:a")
    assert found == {"groups": ["a"]}
    found["groups"].append("c")
    store.items("quota")["group:a"]["groups"].append("d")
    assert store.get("quota", "group:a") == {"groups": ["a"]}
    store.close()


async def test_what_is_not_asked_for_is_not_copied(file: Path) -> None:
    """Every page asks for the messages of its person, on the event loop."""
    store = DocumentStore(file)
    for key in ("alice/1", "alice/2", "bob/1"):
        await store.put("warning", key, {"text": key})
    assert store.items("warning", "alice/") == {
        "alice/1": {"text": "alice/1"},
        "alice/2": {"text": "alice/2"},
    }
    assert store.items("warning").keys() == {"alice/1", "alice/2", "bob/1"}
    document = {"text": "x" * 200, "by": "admin", "at": "2026-11-21T12:00:00+00:00", "session": None}
    store._cache["warning"] = {f"p{one}/{two}": document for one in range(500) for two in range(20)}
    begun = time.perf_counter()
    assert len(store.items("warning", "p7/")) == 20
    assert time.perf_counter() - begun < 0.05
    store.close()


async def test_a_revision_changes_with_each_write_of_its_kind(file: Path) -> None:
    store = DocumentStore(file)
    before, other = store.revision("quota"), store.revision("terms")
    await store.put("quota", "user:alice", {})
    written = store.revision("quota")
    await store.delete("quota", "user:alice")
    assert len({before, written, store.revision("quota")}) == 3
    assert store.revision("terms") == other
    store.close()


async def test_a_person_who_is_no_more_leaves_nothing(file: Path) -> None:
    store = DocumentStore(file)
    await store.put("quota", "user:alice", {})
    await store.put("quota", "user:alice2", {})
    await store.put("keepalive", "alice/run", {})
    await store.put("keepalive", "alice2/run", {})
    await store.put("warning", "alice", {})
    await store.forget_person("alice")
    assert store.items("quota").keys() == {"user:alice2"}
    assert store.items("keepalive").keys() == {"alice2/run"}
    assert store.items("warning") == {}
    store.close()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("", {}, "1 to 600 characters"),
        ("x" * 601, {}, "1 to 600 characters"),
        ("current", {"text": "é" * MAX_BYTES}, f"at most {MAX_BYTES} bytes"),
        ("current", {"number": float("nan")}, "JSON"),
    ],
)
async def test_what_does_not_fit_is_refused(
    file: Path, key: str, value: dict[str, object], message: str
) -> None:
    store = DocumentStore(file)
    with pytest.raises(ValueError, match=message):
        await store.put("announcement", key, value)
    assert store.items("announcement") == {}
    store.close()


async def test_a_database_that_another_process_holds_for_a_moment_is_written_after_it(file: Path) -> None:
    store = DocumentStore(file)
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.6, lambda: holder.execute("COMMIT")).start()
    await store.put("terms", "alice", {"version": 1})
    assert store.get("terms", "alice") == {"version": 1}
    holder.close()
    store.close()


async def test_a_database_that_does_not_answer_is_told_and_what_was_known_stays(file: Path) -> None:
    store = DocumentStore(file, write_seconds=0.3)
    await store.put("terms", "alice", {"version": 1})
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DocumentError, match="does not answer in time"):
        await store.put("terms", "alice", {"version": 2})
    assert store.get("terms", "alice") == {"version": 1}
    holder.execute("COMMIT")
    holder.close()
    # The write that nobody waits for any more goes on, before any later one.
    await store.put("terms", "bob", {"version": 3})
    assert store.items("terms") == {"alice": {"version": 2}, "bob": {"version": 3}}
    store.close()


def test_a_database_that_cannot_be_opened_is_told_without_its_url() -> None:
    with pytest.raises(DocumentError, match="cannot be read") as error:
        DocumentStore("postgresql+psycopg2://sardonyx:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(error.value)


async def test_threads_share_a_database_in_memory() -> None:
    store = DocumentStore("sqlite://")
    await store.put("terms", "alice", {"version": 1})
    await store.ping()
    store.close()


async def test_a_damaged_document_is_as_if_it_were_not_there(file: Path) -> None:
    store = DocumentStore(file)
    await store.put("terms", "alice", {"version": 1})
    await store.put("terms", "bob", {"version": 1})
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE documents SET value = '{' WHERE key = 'alice'")
    again = DocumentStore(file)
    assert again.items("terms") == {"bob": {"version": 1}}
    again.close()
