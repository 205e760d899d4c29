"""Put files and folders on one of pyarrow's file systems, on which folders cannot be renamed.

A reader sees a file whole or not at all, and a folder as whole once it has the file that is
uploaded last. Knows neither where the run's places are nor what is in the files.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Set
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow
import pyarrow.fs

# Where a file can be seen before its last byte is there. On the others, object stores, a file
# appears whole, and a rename would be another copy.
_RENAMING = ("local", "hdfs")
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


def partial_name(name: str) -> str:
    """Name what is not whole yet, to stand beside what it will be.

    The leading dot keeps readers of whole folders away, the random part keeps two writers apart.
    """
    return f".{name}.{uuid.uuid4().hex[:8]}.partial"


def upload_file(local: Path, system: Any, path: str) -> None:
    """Copy a file to its place, where it replaces another; interrupted, it changes nothing there.

    Raises:
        OSError: It cannot be written.
    """
    place = PurePosixPath(path)
    system.create_dir(str(place.parent), recursive=True)
    if system.type_name not in _RENAMING:
        _copy(local, system, path)
        return
    partial = str(place.with_name(partial_name(place.name)))
    try:
        _copy(local, system, partial)
        system.move(partial, path)
    except BaseException:
        with suppress(OSError, pyarrow.ArrowException):
            system.delete_file(partial)
        raise


def upload_folder(local: Path, system: Any, path: str, last: str | None) -> None:
    """Copy a folder's files to their places, one of them after all others.

    What an interrupted upload left there is replaced.

    Args:
        local: The folder.
        system: pyarrow's file system.
        path: Where the folder shall stand on it; see ``is_taken``.
        last: Its last file; None: any.

    Raises:
        OSError: It cannot be written.
    """
    for name in _files_in(system, path):
        if _PARTIAL.fullmatch(PurePosixPath(name).name):
            system.delete_file(f"{path}/{name}")
    for name in sorted(names_in(local), key=lambda name: (name == last, name)):
        upload_file(local / name, system, f"{path}/{name}")


def is_taken(names: Set[str], system: Any, path: str, last: str | None) -> bool:
    """Say whether a folder may not be uploaded to a place, since something else stands there.

    What an interrupted upload left does not count: some of the folder's files without the last.

    Args:
        names: Of the files in the folder.
        system: pyarrow's file system.
        path: The place on it.
        last: The file that makes the folder whole to its readers; None: nothing says so.
    """
    if system.get_file_info(path).type == pyarrow.fs.FileType.File:
        return True
    found = {n for n in _files_in(system, path) if not _PARTIAL.fullmatch(PurePosixPath(n).name)}
    return bool(found) and (last is None or last in found or not found <= names)


def names_in(local: Path) -> set[str]:
    """Name the files below a local folder."""
    return {p.relative_to(local).as_posix() for p in local.rglob("*") if p.is_file()}


def _files_in(system: Any, path: str) -> list[str]:
    """Names of the files below a folder, which need not exist."""
    selector = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
    return [
        entry.path.partition(f"{path}/")[2]
        for entry in system.get_file_info(selector)
        if entry.type == pyarrow.fs.FileType.File
    ]


def _copy(local: Path, system: Any, path: str) -> None:
    pyarrow.fs.copy_files(
        str(local),
        path,
        source_filesystem=pyarrow.fs.LocalFileSystem(),
        destination_filesystem=system,
    )
