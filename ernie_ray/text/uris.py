"""Places as URIs: ``scheme://host:port/path?option=value``, whose parts all stay where they belong.

Host and options say how a file system is reached, so every file of a folder needs those of its
folder. Knows strings only; reaches nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

_PARTS = re.compile(r"([^:/?#]+://[^/?]*)([^?]*)(.*)", re.DOTALL)
# An option may be an address: ``?endpoint_override=http://host:9000``.
_OPTIONS = re.compile(r"((?:(?<=:)//|[^/])*)(.*)", re.DOTALL)
_SAFE = "/%~!$&'()*+,;=:@"
"""What may stand in a path as it is."""


def is_uri(location: str | Path) -> bool:
    """True for ``s3://...`` and the like, False for a local path."""
    return isinstance(location, str) and "://" in location


def path_of(location: str) -> str:
    """Give a location without the options of a URI, to look at its name; local paths as they are.

    A ``?`` is part of a local path's name.
    """
    return "".join(_split(location)[:2]) if is_uri(location) else location


def join(uri: str, name: str, *, above: int = 0) -> str:
    """Put a name below a folder.

    Args:
        uri: The folder.
        name: A relative path; signs that a URI takes for others are masked.
        above: So many parts of the folder's path are left out first.
    """
    head, path, options = _split(uri)
    parts = path.rstrip("/").split("/")
    kept = "/".join(parts[: len(parts) - above])
    masked = "".join(f"%{ord(sign):02X}" if sign in "%?#" else sign for sign in name)
    return f"{head}{kept}/{masked}{options}"


def normal(uri: str) -> str:
    """Put what was written behind the options of a URI, as ``/name``, before them.

    Of several ``/`` one stays, and at the end none.
    """
    head, path, options = _split(uri)
    found = _OPTIONS.fullmatch(options)
    assert found  # it matches anything
    path += found[2]
    parts = [part for part in path.split("/") if part]
    return f"{head}{'/' if path else ''}{'/'.join(parts)}{found[1]}"


def quoted(uri: str) -> str:
    """Mask spaces, brackets and letters other than ASCII in a path, as parsers of URIs demand.

    A ``#`` is masked, too: files have no parts that it could name.
    """
    head, path, options = _split(uri)
    return f"{head}{quote(path, safe=_SAFE)}{options}"


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme and host, path, and options with their ``?``."""
    found = _PARTS.fullmatch(uri)
    return (found[1], found[2], found[3]) if found else (uri, "", "")
