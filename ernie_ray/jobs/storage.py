"""Where inputs are read and outputs go: a folder on this machine, a shared disk, or a URI.

Resolves names, brings remote files here, and puts finished files and folders in place so that a
reader sees all of one or nothing. Knows neither what is in them nor the environment: the command
line passes the root in.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.fs

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.jobs.local_moves import beside, move, refuse_full, remove, rename
from ernie_ray.jobs.uploads import is_taken, names_in, upload_file, upload_folder
from ernie_ray.text.row_files import DataFile, file_system, first_line
from ernie_ray.text.uris import is_uri, join, normal, path_of

Location = Path | str
"""An absolute local path, or a URI."""

# Set by Ray's job supervisor for the command of a submitted job, and for nothing else.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"

# Folders that hold one thing on its way to a URI, and end with it.
_STAGING = "ernie-ray-staging-"


def is_submitted_job(environ: Mapping[str, str]) -> bool:
    """True in the process that ``ray job submit`` started."""
    return _JOB_VARIABLE in environ


class Storage:
    """Resolves and moves the files of one run."""

    def __init__(
        self, root: str | None = None, *, in_job: bool = False, download_dir: Path | None = None
    ) -> None:
        """Choose a root.

        Args:
            root: Absolute path or URI that relative names start from; None: the current folder.
            in_job: This process is a submitted Ray job, whose current folder is a copy that Ray
                deletes.
            download_dir: Where remote files are kept; None: ``~/.cache/ernie-ray/downloads``.

        Raises:
            ConfigError: The root is a relative path.
        """
        if root and not is_uri(root) and not Path(root).is_absolute():
            raise ConfigError(
                f"storage {root!r} is a relative path; give an absolute path that every machine "
                "sees, or a URI such as s3://bucket/folder"
            )
        self._root = (normal(root) if is_uri(root) else root.rstrip("/") or "/") if root else None
        self._in_job = in_job
        self._download_dir = download_dir or Path.home() / ".cache" / "ernie-ray" / "downloads"

    def resolve(self, name: str | Path) -> Location:
        """Turn a name into an absolute path or a URI; nothing need be there.

        Options of a URI (``?...``) end up behind the whole path, also where the name was made by
        adding ``/part`` to such a URI.

        Raises:
            ConfigError: The name is relative, and there is nothing that it could be relative to.
        """
        if is_uri(name):
            return normal(str(name))
        path = Path(name).expanduser()
        if path.is_absolute():
            return path
        if self._root is not None:
            is_remote = is_uri(self._root)
            return join(self._root, str(path)) if is_remote else Path(self._root) / path
        if self._in_job:
            raise ConfigError(
                f"{str(name)!r} is a relative path inside a submitted job, whose folder is an "
                "upload without ignored files that Ray deletes at the end; give an absolute path "
                "that every machine sees or a URI, or set --storage (ERNIE_RAY_STORAGE) to one"
            )
        return path.absolute()

    def exists(self, name: str | Path) -> bool:
        """Say whether a file or folder is there; of a folder at a URI, whether any part of it is.

        Raises:
            ConfigError: See ``resolve``.
            DataError: The place cannot be looked at.
        """
        location = self.resolve(name)
        if isinstance(location, Path):
            return location.exists()
        system, path = file_system(location)
        try:
            return _state_of(system, path) is not None
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{location}: cannot be read: {first_line(error)}") from error

    def refuse_taken(self, name: str | Path, names: Set[str], last: str) -> None:
        """Say before a long job what ``publish`` would say of its folder at the end.

        Args:
            name: Where the folder shall stand.
            names: Of the files that it will have.
            last: See ``publish``.

        Raises:
            ConfigError: See ``resolve``; or something else stands there.
            DataError: The place cannot be looked at.
        """
        location = self.resolve(name)
        if isinstance(location, Path):
            refuse_full(location)
            return
        try:
            taken = is_taken(names, *file_system(location), last)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{location}: cannot be read: {first_line(error)}") from error
        if taken:
            raise ConfigError(f"{location} exists already; choose another name or remove it")

    def names_in(self, name: str | Path) -> list[str]:
        """List the names of a folder's files and folders, sorted; empty if there is no folder.

        Raises:
            ConfigError: See ``resolve``.
            DataError: The place cannot be looked at.
        """
        location = self.resolve(name)
        if isinstance(location, Path):
            return sorted(p.name for p in location.iterdir()) if location.is_dir() else []
        system, path = file_system(location)
        try:
            selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
            return sorted(entry.base_name for entry in system.get_file_info(selector))
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{location}: cannot be listed: {first_line(error)}") from error

    def remove(self, name: str | Path) -> None:
        """Remove a file or a folder with all that is in it; nothing need be there.

        Raises:
            ConfigError: See ``resolve``.
            DataError: It cannot be removed.
        """
        location = self.resolve(name)
        if isinstance(location, Path):
            remove(location)
            return
        system, path = file_system(location)
        try:
            kind = system.get_file_info(path).type
            if kind == pyarrow.fs.FileType.Directory:
                system.delete_dir(path)
            elif kind == pyarrow.fs.FileType.File:
                system.delete_file(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{location}: cannot be removed: {first_line(error)}") from error

    def fetch(self, name: str | Path) -> Path:
        """Give a local path of an existing file or folder, downloading it if it is remote.

        A download is kept, and used again while sizes and times at its source stay the same.

        Raises:
            ConfigError: See ``resolve``.
            DataError: Nothing is there, or it cannot be read.
        """
        location = self.resolve(name)
        if isinstance(location, Path):
            if not location.exists():
                raise DataError(f"{location}: no such file or folder")
            return location
        system, path = file_system(location)
        try:
            state = _state_of(system, path)
            if state is None:
                raise DataError(f"{location}: no such file or folder")
            key = hashlib.sha256(f"{location}\n{state}".encode()).hexdigest()[:16]
            target = self._download_dir / key / path.rstrip("/").rpartition("/")[2]
            if not target.exists():
                self._download(system, path, target)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{location}: cannot be downloaded: {first_line(error)}") from error
        return target

    def open(self, name: str | Path) -> IO[bytes]:
        """Open an existing file for reading where it lies, without keeping a copy.

        Raises:
            ConfigError: See ``resolve``.
            DataError: It cannot be opened.
        """
        location = str(self.resolve(name))
        return DataFile(location, "", location).open()

    def publish(self, local: Path, name: str | Path, *, last: str | None = None) -> Location:
        """Move a finished file or folder to its place, whole or not at all.

        Args:
            local: What to move; it is gone from there afterwards.
            name: Where to. An existing file is replaced; a folder with content is not.
            last: For a folder at a URI, where there is no rename: the file that makes it whole
                to its readers and so is uploaded after all others. Ask for this file to know
                whether the folder is there: what an interrupted call left is replaced.

        Returns:
            Where it is now.

        Raises:
            ConfigError: See ``resolve``; or the folder exists already.
            DataError: It cannot be written there.
        """
        location = self.resolve(name)
        with writing_to(location):
            if isinstance(location, Path):
                move(local, location)
            else:
                self._upload(local, location, last)
                remove(local)
                if local.parent.name.startswith(_STAGING):
                    with suppress(OSError):
                        local.parent.rmdir()
        return location

    def check_output(self, name: str | Path) -> None:
        """Refuse a place where no file can be put, before any work is done for it.

        The folder above it is made, and nothing in it changes.

        Raises:
            ConfigError: See ``resolve``.
            DataError: A file cannot be written there.
        """
        location = self.resolve(name)
        with writing_to(location):
            if isinstance(location, Path):
                is_folder = location.is_dir()
            else:
                system, path = file_system(location)
                system.create_dir(path.rpartition("/")[0] or "/", recursive=True)
                is_folder = system.get_file_info(path).type == pyarrow.fs.FileType.Directory
            if is_folder:
                raise DataError(f"{location}: cannot be written: it is a folder; name a file in it")
            if isinstance(location, Path):
                trial = staging_path(location)
                trial.touch()
                trial.unlink()

    def _upload(self, local: Path, uri: str, last: str | None) -> None:
        system, path = file_system(uri)
        path = path.rstrip("/")
        if local.is_file():
            upload_file(local, system, path)
        elif is_taken(names_in(local), system, path, last):
            raise ConfigError(f"{uri} exists already; choose another name or remove it")
        else:
            upload_folder(local, system, path, last)

    def _download(self, system: Any, path: str, target: Path) -> None:
        partial = beside(target)
        partial.parent.mkdir(parents=True, exist_ok=True)
        if system.get_file_info(path).type == pyarrow.fs.FileType.Directory:
            partial.mkdir()
        try:
            pyarrow.fs.copy_files(
                path,
                str(partial),
                source_filesystem=system,
                destination_filesystem=pyarrow.fs.LocalFileSystem(),
            )
            try:
                rename(partial, target)
            except (ConfigError, OSError):
                # Another process may have been quicker; its copy is the same.
                if not target.exists():
                    raise
        finally:
            remove(partial)


def staging_path(location: Location) -> Path:
    """Choose a local path to write to before ``Storage.publish``: beside a local target.

    Args:
        location: As from ``Storage.resolve``.

    Returns:
        A path at which nothing is; its folder exists. For a URI it is in the system's folder for
        temporary files.

    Raises:
        DataError: There is no such folder, and none can be made.
    """
    with writing_to(location):
        if isinstance(location, str):
            return Path(tempfile.mkdtemp(prefix=_STAGING)) / path_of(location).rpartition("/")[2]
        location.parent.mkdir(parents=True, exist_ok=True)
        return beside(location)


@contextmanager
def writing_to(location: Location) -> Iterator[None]:
    """Name an output in the error of what fails to write it.

    Raises:
        DataError: The disk is full, a folder is none, and the like.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # who reads standard output may leave; the command line knows how to end then
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{location}: cannot be written: {first_line(error)}") from error


def _state_of(system: Any, path: str) -> str | None:
    info = system.get_file_info(path)
    if info.type == pyarrow.fs.FileType.NotFound:
        return None
    entries = [info]
    if info.type == pyarrow.fs.FileType.Directory:
        entries = system.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    return "\n".join(sorted(f"{e.path} {e.size} {e.mtime_ns}" for e in entries))
