"""Folders of a session whose content is hostile: what the session leaves must be removable, and nothing else may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sardonyx_spawner.local_files import SessionFolders, remove_tree

#: Deeper than Python recurses, than a path may be long, and than most processes may hold descriptors.
DEPTH = 3000


def dig(folder: Path, depth: int = DEPTH) -> None:
    """Make a folder in a folder in a folder."""
    fd = os.open(folder, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        if number % 1000 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = inner
    os.close(fd)


@pytest.fixture
def folders(tmp_path: Path) -> SessionFolders:
    made = SessionFolders(tmp_path / "home", "mallory", "default")
    made.home.mkdir()
    made.prepare()
    return made


def test_a_session_that_dug_deep_can_be_cleaned_started_again_and_forgotten(folders: SessionFolders):
    dig(folders.run)
    dig(folders.disk)
    folders.clean()
    assert not folders.run.exists()
    folders.prepare()
    folders.forget()
    assert not folders.disk.exists()
    assert list((folders.home / "disks" / ".trash").iterdir()) == []


def test_what_one_person_left_in_the_trash_does_not_keep_another_from_being_forgotten(
    folders: SessionFolders, monkeypatch: pytest.MonkeyPatch
):
    stuck = folders.home / "disks" / ".trash" / "stuck"
    stuck.mkdir(parents=True)

    def refuse(folder: Path) -> None:
        if folder == stuck:
            raise PermissionError("stuck")
        remove_tree(folder)

    monkeypatch.setattr("sardonyx_spawner.local_files.remove_tree", refuse)
    folders.forget()
    assert not folders.disk.exists()
    assert [left.name for left in stuck.parent.iterdir()] == ["stuck"]


def test_links_are_removed_and_not_followed_and_closed_folders_are_opened(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "precious").write_text("1")
    tree = tmp_path / "tree"
    closed = tree / "a" / "closed"
    (closed / "below").mkdir(parents=True)
    for folder in (tree, tree / "a", closed):
        (folder / "to-folder").symlink_to(outside)
        (folder / "to-file").symlink_to(outside / "precious")
        (folder / "to-nothing").symlink_to("nowhere")
        os.mkfifo(folder / "pipe")
    (closed / "below").chmod(0)
    closed.chmod(0)
    (tree / "a").chmod(0o500)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "precious").read_text() == "1"
    assert outside.stat().st_mode & 0o777 == 0o755
    link = tmp_path / "link"
    link.symlink_to(outside)
    remove_tree(link)
    assert not link.is_symlink()
    assert (outside / "precious").exists()
    remove_tree(tmp_path / "never-there")


def test_a_folder_of_many_files_is_removed(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(2500):
        (tree / str(number)).touch()
    remove_tree(tree)
    assert not tree.exists()


def test_progress_that_nests_without_end_is_no_progress(folders: SessionFolders):
    good = '{"step": "git", "state": "ok", "message": "done"}\n'
    (folders.run / "progress.jsonl").write_text("[" * 100_000 + "\n" + good)
    told, _ = folders.progress_from(0)
    assert told == [{"step": "git", "state": "ok", "message": "done"}]
