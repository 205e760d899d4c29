"""Find data files: one file, a folder or a glob, on a local disk or where pyarrow reaches.

Knows the formats by their suffix. Does not know what is in a file: that is
``ernie_ray.text.row_formats``.
"""

from __future__ import annotations

import glob
import io
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow
import pyarrow.fs

from ernie_ray.errors import DataError
from ernie_ray.text.uris import is_uri, join, path_of, quoted

FORMATS = ("jsonl", "json", "csv", "tsv", "txt", "parquet")
_GLOB_SIGNS = "*?["
_ALL = ["**", "*"]
_HIDING = (".", "_")


@dataclass(frozen=True)
class DataFile:
    """One file of rows; a plain value that may cross process borders.

    Attributes:
        location: Absolute local path or URI.
        format: One of ``FORMATS``.
        name: What messages call it.
    """

    location: str
    format: str
    name: str

    @property
    def is_gzip(self) -> bool:
        """True if the file is compressed as a whole."""
        return path_of(self.location).lower().endswith(".gz")

    def open(self) -> IO[bytes]:
        """Open the file as it lies there, compressed or not; the caller closes it.

        Raises:
            DataError: It is missing or cannot be opened.
        """
        try:
            if not is_uri(self.location):
                return Path(self.location).open("rb")
            system, path = file_system(self.location)
            return io.BufferedReader(system.open_input_file(path))
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{self.name}: cannot be opened: {first_line(error)}") from error


def find_files(location: str | Path, *, without_suffix: str = "") -> tuple[DataFile, ...]:
    """List the data files of a location, by name.

    Args:
        location: A file, a folder (its data files, at any depth) or a glob, in which ``*`` stays
            in one folder and ``**`` is any number of them; a local path or a URI.
        without_suffix: Format of files whose suffix is none of the known ones, as in the 2019
            kit's folders ``train/1`` and ``train/part.0``; empty: there are none.

    Returns:
        At least one file. In a folder, files of other suffixes are passed over, and files and
        folders whose names start with ``.`` or ``_``; a glob may name such ones.

    Raises:
        DataError: Nothing is there, or a named file is of no known format.
    """
    paths, is_listing = _list_remote(str(location)) if is_uri(location) else _list_local(location)
    if is_listing:
        paths = [path for path in paths if _is_data_file(path, bool(without_suffix))]
        # A .json beside rows of another format is rarely data (dataset_info.json).
        streamed = [p for p in paths if format_of(p, without_suffix) != "json"]
        paths = streamed or paths
    if not paths:
        raise DataError(
            f"{location}: no data file is there; give a file, a folder or a glob of "
            f"{_known_suffixes()}"
        )
    return tuple(DataFile(path, format_of(path, without_suffix), path) for path in sorted(paths))


def format_of(path: str, without_suffix: str = "") -> str:
    """Name the format of a file by its suffix, ``.gz`` aside; of an unknown one as given.

    Args:
        path: Local path or URI.
        without_suffix: See ``find_files``.

    Raises:
        DataError: The suffix is unknown.
    """
    suffixes = [s.removeprefix(".").lower() for s in PurePosixPath(path_of(path)).suffixes[-2:]]
    if suffixes[-1:] == ["parquet"] or suffixes == ["parquet", "gz"]:
        if suffixes[-1] == "gz":
            raise DataError(f"{path}: parquet compresses inside the file; unpack it with gunzip")
        return "parquet"
    plain = suffixes[:-1] if suffixes[-1:] == ["gz"] else suffixes
    if not plain or plain[-1] not in FORMATS:
        if without_suffix:
            return without_suffix
        raise DataError(f"{path}: unknown kind of file; rows are read from {_known_suffixes()}")
    return plain[-1]


def _list_local(location: str | Path) -> tuple[list[str], bool]:
    path = Path(location).absolute()
    if path.is_dir():
        found = [str(p) for p in path.rglob("*") if p.is_file()]
        return _chosen(found, str(path), _ALL), True
    if path.is_file():
        return [str(path)], False
    if any(sign in str(location) for sign in _GLOB_SIGNS):
        base, pattern = _part_before_signs(str(path))
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return _chosen([name for name in found if Path(name).is_file()], base, pattern), True
    raise DataError(f"{location}: no such file or folder")


def _list_remote(uri: str) -> tuple[list[str], bool]:
    system, path = file_system(uri)
    path = path.rstrip("/") or path
    is_glob = any(sign in path for sign in _GLOB_SIGNS)
    base, pattern = _part_before_signs(path) if is_glob else (path, _ALL)
    try:
        # A file may have such signs in its name.
        info = system.get_file_info(path)
        if info.type == pyarrow.fs.FileType.File:
            return [uri], False
        if is_glob:
            info = system.get_file_info(base)
        if info.type == pyarrow.fs.FileType.NotFound:
            raise DataError(f"{uri}: no such file or folder")
        entries = system.get_file_info(pyarrow.fs.FileSelector(base, recursive=True))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{uri}: cannot be listed: {first_line(error)}") from error
    paths = [e.path for e in entries if e.type == pyarrow.fs.FileType.File]
    above = len(pattern) if is_glob else 0
    return [
        join(uri, _below(base, path), above=above) for path in _chosen(paths, base, pattern)
    ], True


def file_system(uri: str) -> tuple[Any, str]:
    """Find pyarrow's file system of a URI, and the path on it.

    Raises:
        DataError: The scheme is unknown, or the file system cannot be reached.
    """
    try:
        return pyarrow.fs.FileSystem.from_uri(quoted(uri))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{uri}: no file system for it: {first_line(error)}") from error


def _part_before_signs(path: str) -> tuple[str, list[str]]:
    """The folder above a pattern, and the pattern's parts."""
    parts = path.split("/")
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in _GLOB_SIGNS))
    return "/".join(parts[:first]), list(filter(None, parts[first:]))


def _chosen(paths: list[str], base: str, pattern: list[str]) -> list[str]:
    return [path for path in paths if _matches(_below(base, path).split("/"), pattern)]


def _below(base: str, path: str) -> str:
    return path.removeprefix(base).lstrip("/")


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Match a path part by part, as ``glob`` does; here ``_`` hides a name as ``.`` does."""
    if not (parts and pattern):
        return not parts and all(rest == "**" for rest in pattern)
    part, wanted = parts[0], pattern[0]
    is_hidden = part.startswith(_HIDING) and part[0] != wanted[0]
    if wanted == "**":
        return _matches(parts, pattern[1:]) or (not is_hidden and _matches(parts[1:], pattern))
    return not is_hidden and fnmatchcase(part, wanted) and _matches(parts[1:], pattern[1:])


def _is_data_file(path: str, takes_any_suffix: bool) -> bool:
    stem = PurePosixPath(path_of(path)).name.lower().removesuffix(".gz")
    return takes_any_suffix or (stem.rpartition(".")[2] in FORMATS and "." in stem)


def _known_suffixes() -> str:
    return ", ".join(f".{name}" for name in FORMATS) + " (text also as .gz)"


def first_line(error: BaseException) -> str:
    """Shorten a library's message to its first line."""
    return (str(error) or type(error).__name__).splitlines()[0]
