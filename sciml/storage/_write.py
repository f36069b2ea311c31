"""Atomic writing of files."""

import os
import secrets
from os import PathLike
from pathlib import Path

from sciml.core import invalid


def write_atomic(path: str | PathLike[str], content: bytes | str) -> None:
    """Writes a file atomically: under a temporary name in the same folder, then renamed.

    If the write is interrupted (no space, a kill, Ctrl-C), `path` keeps its old content.

    Args:
        path: the file to write or replace; its folder must exist.
        content: bytes, or text to be written as UTF-8.

    Raises:
        ValueError: the folder does not exist or cannot be written, or `path` is a folder.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise invalid(
            "path",
            f"{path}, which cannot be written ({error.strerror or error})",
            "a file in an existing folder that you may write to",
            "create the folder, change its permissions, free some space, or choose another one",
        ) from error
    finally:
        _remove(temporary)


def output_folder(path: str | PathLike[str]) -> Path:
    """The folder `path`, created if necessary and checked to be writable; call it before a long computation.

    Args:
        path: the folder.

    Raises:
        ValueError: it cannot be created, or no file can be written in it.
    """
    path = Path(path)
    probe = path / f".{secrets.token_hex(4)}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise invalid(
            "path",
            f"{path}, which is not a writable folder ({error.strerror or error})",
            "a folder that can be created and written to",
            "change its permissions, or choose another one",
        ) from error
    finally:
        _remove(probe)
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the folder itself is out of reach, and that error is already on its way
