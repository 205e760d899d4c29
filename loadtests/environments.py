"""Python environments of peers, installed from the package index and cached.

A peer's dependencies never touch the project's own environment or lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from loadtests.errors import TargetUnavailableError

_INSTALL_LIMIT_S = 3600
_READY = ".installed"
TORCH = "torch==2.13.0"
"""One for all peers, so that a difference between two is not that of their torch."""


def cache_folder() -> Path:
    """Folder of environments and weights: ``$LOADTESTS_CACHE``, else in the user's cache."""
    configured = os.environ.get("LOADTESTS_CACHE")
    default = Path.home() / ".cache" / "ernie-ray-loadtests"
    return Path(configured).expanduser() if configured else default


def peer_python(name: str, requirements: list[str], *, torch_index: str | None = None) -> Path:
    """Interpreter of a peer's environment, made at first use.

    Args:
        name: The peer's name.
        requirements: What it needs besides ``TORCH``, in pip's words; fixed versions where a
            newer one is known not to work.
        torch_index: Index to take torch from, such as the one of its CPU builds; None: pip's.

    Raises:
        TargetUnavailableError: It cannot be installed; gives pip's reason.
    """
    key = hashlib.sha256("\n".join([TORCH, *requirements, torch_index or ""]).encode()).hexdigest()[
        :12
    ]
    folder = cache_folder() / "environments" / f"{name}-{key}"
    python = folder / "bin" / "python"
    if (folder / _READY).exists():
        return python
    print(f"installing {name} into {folder} (once)", file=sys.stderr)  # noqa: T201 - minutes long
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted installation left
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise TargetUnavailableError(f"no environment for {name}: {error}") from error
    from_index = ["--index-url", torch_index] if torch_index else []
    _pip(name, python, [TORCH, *from_index])
    _pip(name, python, [TORCH, *requirements])
    (folder / _READY).touch()
    return python


def _pip(name: str, python: Path, arguments: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TargetUnavailableError(
            f"{name} cannot be installed: pip took over {_INSTALL_LIMIT_S} s"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.splitlines() or ["pip gave no reason"])[-1]
        raise TargetUnavailableError(f"{name} cannot be installed: {reason}")
