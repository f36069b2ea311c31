"""Files are old or new, never half written."""

import os
from pathlib import Path

import pytest

from sciml.storage import output_folder, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "report.md"
    write_atomic(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    write_atomic(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["report.md"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    write_atomic(path, "old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ValueError, match=r"`path`: got .*report.md, which cannot be written \(No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["report.md"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    write_atomic(path, "old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["report.md"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(
        ValueError, match=r"`path`: got .*cannot be written \(No such file.*expected a file in an exist"
    ):
        write_atomic(tmp_path / "missing" / "a.txt", "new")
    with pytest.raises(ValueError, match=r"`path`: got .*cannot be written \(Not a directory.* Likely fix: create"):
        write_atomic(tmp_path / "file" / "a.txt", "new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"`path`: got .*folder, which cannot be written \(Is a directory"):
        write_atomic(tmp_path / "folder", "new")
    assert names(tmp_path) == ["file", "folder"] and (tmp_path / "file").read_text() == "old"


def test_an_output_folder_is_created_and_tried(tmp_path):
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match=r"`path`: got .*file, which is not a writable folder \(File exists"):
        output_folder(tmp_path / "file")
    with pytest.raises(ValueError, match=r"`path`: got .*which is not a writable folder \(Not a directory"):
        output_folder(tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match=r"not a writable folder \(Permission denied"):
            output_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)
