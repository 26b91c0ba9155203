"""Files that commands write: whole or not at all, and never one of those that they read."""

import os
from pathlib import Path

import pytest

from pdscaler.cli.outfile import check_writable, write_file
from pdscaler.errors import InvalidInputError


def test_a_file_is_replaced_and_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old", encoding="utf-8")
    real.chmod(0o604)
    link.symlink_to(real)
    check_writable("--report", link)
    write_file("--report", link, "new – \ud800")
    assert link.is_symlink()
    assert real.read_bytes() == "new – \\ud800".encode()
    assert real.stat().st_mode & 0o777 == 0o604
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "real"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InvalidInputError, match=r"report\.html cannot be written: no space left"):
        write_file("--report", path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_told_before(tmp_path: Path) -> None:
    given = tmp_path / "trace.csv"
    given.write_text("", encoding="utf-8")
    (tmp_path / "same").hardlink_to(given)
    for path, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "r.html", f"there is no folder {tmp_path / 'missing'}"),
        (given / "r.html", "not a directory"),
        (tmp_path / "same", "it is read by this command"),
        (tmp_path / ("x" * 300), "file name too long"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            check_writable("--report", path, [given])
        shown = str(path).replace("\0", "\\x00")
        assert str(caught.value) == f"--report: {shown} cannot be written: {problem}"
    check_writable("--report", tmp_path / "new.html", [given])


def test_a_file_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(InvalidInputError, match="permission denied"):
        check_writable("--decisions", tmp_path / "d.csv")
