"""Put finished files and folders in their places on this machine, whole or not at all.

The local counterpart of ``uploads``; knows neither URIs nor what is in the files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ernie_ray.errors import ConfigError
from ernie_ray.jobs.uploads import partial_name


def beside(target: Path) -> Path:
    """Choose a path for what is not whole yet, in the folder of what it will be."""
    # Same folder, so same disk: the final rename is then one step.
    return target.with_name(partial_name(target.name))


def refuse_full(target: Path) -> None:
    """Raise ConfigError unless a folder can be put there: nothing, or an empty one."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already; choose another name or remove it")


def move(local: Path, target: Path) -> None:
    """Put a file or folder in its place, which may be on another disk.

    Raises:
        ConfigError: A folder shall stand where there is something; a file takes another's place.
        OSError: It cannot be written there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if local.stat().st_dev == target.parent.stat().st_dev:
        rename(local, target)
        return
    partial = beside(target)
    try:
        shutil.move(local, partial)
        rename(partial, target)
    finally:
        remove(partial)


def rename(source: Path, target: Path) -> None:
    """Do the same on one disk, in one step."""
    if source.is_dir():
        refuse_full(target)
    os.replace(source, target)  # noqa: PTH105 - the same call as Path.replace, said plainly


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing need be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
