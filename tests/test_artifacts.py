"""Folders that are whole or absent."""

import json
from pathlib import Path

import pytest

from biolm.artifacts import (
    atomic_file,
    cache_folder,
    check_free,
    exclusive,
    new_folder,
    read_manifest,
    write_manifest,
)
from biolm.errors import ArtifactError


def make(out: Path, text: str = "x") -> None:
    with new_folder(out, kind="thing") as folder:
        (folder / "data").write_text(text)
        write_manifest(folder, kind="thing", version=1)


def test_a_folder_appears_whole_and_nothing_is_left_beside_it(tmp_path: Path):
    make(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (
        read_manifest(tmp_path / "a", kind="thing", version=1, rebuild="make")["files"]["data"]["bytes"] == 1
    )


def test_what_can_be_no_folder_is_said(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    for out in (Path("/"), tmp_path / "loop", tmp_path / "loop" / "x"):
        with pytest.raises(ArtifactError, match="choose another --out"):
            check_free(out)


def test_an_error_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a", kind="thing") as folder:
        (folder / "data").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_appeared_meanwhile_is_not_overwritten(tmp_path: Path):
    with (
        pytest.raises(ArtifactError, match="holds other files"),
        new_folder(tmp_path / "a", kind="thing") as folder,
    ):
        write_manifest(folder, kind="thing", version=1)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "mine").write_text("mine")
    assert (tmp_path / "a" / "mine").read_text() == "mine"


def test_a_link_to_an_empty_folder_and_leftovers_of_a_killed_writer_are_no_hindrance(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / ".config.json.123.partial").write_text("half")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "data").read_text() == "x"


def test_a_killed_writers_partial_folder_is_thrown_away(tmp_path: Path):
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "stale").write_text("old")
    make(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["data", "manifest.json"]


def test_two_writers_do_not_meet(tmp_path: Path):
    with new_folder(tmp_path / "a", kind="thing") as folder:
        write_manifest(folder, kind="thing", version=1)
        with (
            pytest.raises(ArtifactError, match="another biolm process"),
            new_folder(tmp_path / "a", kind="thing"),
        ):
            pass
    assert (tmp_path / "a" / "manifest.json").is_file()
    with exclusive(tmp_path / "a"), pytest.raises(ArtifactError), exclusive(tmp_path / "a"):
        pass


def test_an_edited_card_does_not_spoil_a_folder_and_an_edited_file_does(tmp_path: Path):
    with new_folder(tmp_path / "a", kind="thing") as folder:
        (folder / "data").write_text("x")
        (folder / "README.md").write_text("card")
        write_manifest(folder, kind="thing", version=1)
    (tmp_path / "a" / "README.md").write_text("a longer card")
    read_manifest(tmp_path / "a", kind="thing", version=1, rebuild="make")
    (tmp_path / "a" / "data").write_text("longer")
    with pytest.raises(ArtifactError, match="another size"):
        read_manifest(tmp_path / "a", kind="thing", version=1, rebuild="make")


def test_a_manifest_holds_no_time_and_no_path(tmp_path: Path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    first, second = ((tmp_path / name / "manifest.json").read_text() for name in "ab")
    assert first == second
    assert str(tmp_path) not in first
    assert set(json.loads(first)) == {"kind", "version", "biolm", "files"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BIOLM_CACHE", "/x/own")
    assert cache_folder() == Path("/x/own")
    monkeypatch.delenv("BIOLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/shared")
    assert cache_folder() == Path("/x/shared/biolm")
