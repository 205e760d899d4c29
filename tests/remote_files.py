"""A file system with hosts and options, such as S3 or HDFS, in a folder of this machine."""

from __future__ import annotations

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
