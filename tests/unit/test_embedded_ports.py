"""Ports: chosen once, kept, chosen anew when taken; the public one said to be taken in one line."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.ports import Ports, free_ports, is_free, require_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ports_are_all_different_and_free() -> None:
    numbers = Ports.free().numbers()
    assert len(set(numbers)) == len(numbers) == 13
    assert all(is_free(number) for number in numbers)


def test_ports_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    assert Ports.keep(path) == Ports.keep(path)


def test_ports_are_chosen_anew_when_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    before = Ports.keep(path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", before.seaweedfs.filer_grpc))
        other.listen()
        after = Ports.keep(path)
    assert after != before
    assert Ports.keep(path) == after


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"hub": 1}', "null"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(content)
    assert Ports.keep(path) == Ports.keep(path)


def test_the_public_port_is_avoided(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    kept = Ports.keep(path)
    assert kept.vault not in Ports.keep(path, avoid={kept.vault}).numbers()


def test_free_ports_avoids() -> None:
    avoid = free_ports(5)
    assert not set(free_ports(50, avoid=avoid)) & set(avoid)


def test_a_taken_port_is_one_line(taken: int) -> None:
    with pytest.raises(StartError) as caught:
        require_port(taken)
    line = str(caught.value)
    assert f"port {taken} is already in use" in line
    assert "set PORT" in line
    assert "\n" not in line


def test_an_impossible_port_is_one_line() -> None:
    with pytest.raises(StartError, match="set PORT to another number"):
        require_port(70_000)
