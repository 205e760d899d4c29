"""A file system with hosts and options, such as S3 or HDFS, in a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.fs
import pytest

from ernie_ray.errors import DataError
from ernie_ray.jobs import storage
from ernie_ray.text import row_files
from ernie_ray.text.uris import quoted

OPTIONS = "user=me&host=here:9000"


def serve_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let ``far://name:9000/...?OPTIONS`` be a folder, reached with its host and options only.

    Returns:
        The URI of the folder, without options.
    """

    def file_system(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        parts = urlsplit(quoted(uri))
        if (parts.scheme, parts.netloc, parts.query) != ("far", "name:9000", OPTIONS):
            raise DataError(f"{uri}: no file system for it")
        return pyarrow.fs.LocalFileSystem(), f"{folder}{unquote(parts.path)}"

    for module in (row_files, storage):
        monkeypatch.setattr(module, "file_system", file_system)
    return "far://name:9000"


@contextmanager
def upload_interrupted_after(num_files: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let an upload end as by Ctrl-C, in the middle of the file after the first so many."""
    copy = pyarrow.fs.copy_files
    num_left = num_files

    def interrupted(source: str, target: str, **systems: pyarrow.fs.FileSystem) -> None:
        nonlocal num_left
        if not num_left:
            with systems["destination_filesystem"].open_output_stream(target) as stream:
                stream.write(b"h")
            raise KeyboardInterrupt
        num_left -= 1
        copy(source, target, **systems)

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.fs, "copy_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            yield
