"""The file format: a magic number, the header's length, the header in JSON, raw bytes, and the SHA-256 of all that.

    offset 0        8 bytes      b"\\x89SCIML\\r\\n"; catches transfers that change line ends
    offset 8        8 bytes      n, the length of the header, little-endian
    offset 16       n bytes      the header, JSON in UTF-8
    offset 16 + n   ...          the leaves' raw little-endian bytes, one after the other, in the header's order
    last 32 bytes                SHA-256 of everything before

Nothing in the file is executed: names in the header are compared, never looked up.
"""

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import Any

from sciml.core import invalid

from ._leaves import byte_count

MAGIC = b"\x89SCIML\r\n"
VERSION = 1
_HASH = 32


def encode(header: dict[str, Any], payload: list[bytes]) -> bytes:
    """The bytes of a file, from its header and the leaves' bytes."""
    text = json.dumps(header, indent=1).encode()
    body = b"".join([MAGIC, len(text).to_bytes(8, "little"), text, *payload])
    return body + hashlib.sha256(body).digest()


def decode(path: str | PathLike[str]) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the leaves' bytes of a file, after checking its format and its hash."""
    path = Path(path)
    if not path.is_file():
        raise invalid(
            "path", f"{path}, which is not a file", "a file written by `save`", "check the name and the folder"
        )
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        got = f"{path}, which starts with {content[:8]!r}"
        raise invalid(
            "path", got, "a file written by `save`", "check the name; files of an older format need an older release"
        )
    body, digest = content[:-_HASH], content[-_HASH:]
    if hashlib.sha256(body).digest() != digest:
        raise _corrupt(path, "its checksum does not match")
    start = 16 + int.from_bytes(body[8:16], "little")
    try:
        header = json.loads(body[16:start])
        if header["format"] != VERSION:
            raise invalid(
                "path",
                f"{path} in format {header['format']}, written by version {header['package']}",
                f"format {VERSION}",
                "install the release that wrote the file",
            )
        _ = header["class"], [entry["path"] for entry in header["leaves"]]  # what `load` relies on
        sizes = [byte_count(entry) for entry in header["leaves"]]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _corrupt(path, f"its header cannot be read: {error!r}") from error
    if sum(sizes) != len(body) - start or min(sizes, default=0) < 0:
        raise _corrupt(path, f"it holds {len(body) - start} bytes of data where its header says {sum(sizes)}")
    ends = [start + sum(sizes[: i + 1]) for i in range(len(sizes))]
    return header, [body[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def read_header(path: str | PathLike[str]) -> dict[str, Any]:
    """The header of a saved file: `format`, `package` (version), `class`, `note`, and `leaves`.

    Args:
        path: a file written by `save`.

    Raises:
        ValueError: no such file, or not a sound file of this kind.
    """
    return decode(path)[0]


def _corrupt(path: Path, reason: str) -> ValueError:
    return invalid(
        "path",
        f"{path}, which is truncated or corrupt: {reason}",
        "an intact file",
        "copy the file again, or save it again",
    )
