"""Options that several commands share, and what they make of them.

The only place besides ``ray_session`` that reads the environment.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from ernie_ray.jobs.storage import Storage, is_submitted_job

storage_option = click.option(
    "--storage",
    envvar="ERNIE_RAY_STORAGE",
    metavar="PATH|URI",
    help="Absolute path or URI that relative paths start from. Needed inside a submitted Ray job, "
    "where it must be reachable from every machine.  [default: the current folder; "
    "env: ERNIE_RAY_STORAGE]",
)
address_option = click.option(
    "--address",
    metavar="HOST:PORT",
    help="Ray cluster to join.  [default: RAY_ADDRESS, else a local Ray for this command]",
)


def open_storage(root: str | None) -> Storage:
    """Make the storage of a command from the value of ``--storage``.

    Raises:
        ConfigError: The root is a relative path.
    """
    cache = os.environ.get("ERNIE_RAY_CACHE")
    return Storage(
        root or None,
        in_job=is_submitted_job(os.environ),
        download_dir=Path(cache) / "downloads" if cache else None,
    )
