"""Files that a command writes: told before a long run where they cannot be, and whole or not at all. May import errors.

A file is written beside its place and then moved there: who reads it sees the old one or the new one, and a run that
breaks off leaves nothing behind. What is no regular file (``/dev/stdout``, a pipe) is written as it is.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from pdscaler.errors import InvalidInputError


def check_writable(option: str, path: Path, inputs: Sequence[Path] = ()) -> None:
    """Say before a long run what would keep its result from being written.

    Parameters
    ----------
    option
        Where the path was given: ``--report``.
    path
        The file to be written.
    inputs
        Files that it must not replace.

    Raises
    ------
    InvalidInputError
        If the path is a folder, its folder is missing or may not be written to, or it is one of the inputs.
    """
    try:
        folder = path.absolute().parent
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # says what is wrong with the name
        if path.is_dir():
            problem = "is a folder"
        elif not folder.is_dir():
            problem = f"there is no folder {folder}"
        elif not os.access(path if path.exists() else folder, os.W_OK):
            problem = "permission denied"
        elif any(given.exists() and path.exists() and path.samefile(given) for given in inputs):
            problem = "it is read by this command"
        else:
            return
    except (OSError, ValueError) as error:  # a name too long, a null character
        problem = _reason(error)
    raise InvalidInputError(option, f"{path} cannot be written: {problem}")


def write_file(option: str, path: Path, text: str) -> None:
    """Write a file whole, or not at all.

    Parameters
    ----------
    option
        Where the path was given.
    path, text
        The file, and what is to stand in it (UTF-8, lines as they are).

    Raises
    ------
    InvalidInputError
        If it cannot be written.
    """
    content = text.encode("utf-8", "backslashreplace")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        path = Path(os.path.realpath(path))  # a link stays a link
        beside = path.with_name(f".pdscaler-{os.getpid()}.tmp")
        try:
            beside.write_bytes(content)
            if path.exists():
                beside.chmod(path.stat().st_mode & 0o777)
            beside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(option, f"{path} cannot be written: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    return str((error.strerror if isinstance(error, OSError) else None) or error).lower()
