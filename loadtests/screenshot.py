"""A picture of a report, made by Chromium without a window; knows nothing of what it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from loadtests.errors import LoadTestError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LIMIT_S = 120


def browser() -> str | None:
    """Path of Chromium or Chrome; None if this machine has none."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def screenshot(page: Path, picture: Path, *, width: int, height: int) -> None:
    """Draw the top of a page.

    Args:
        page: An HTML file.
        picture: PNG file to write.
        width: Pixels.
        height: Pixels.

    Raises:
        LoadTestError: There is no such page or no Chromium, or it draws nothing.
    """
    if not page.is_file():
        raise LoadTestError(f"{page}: no such file; `python -m loadtests compare` writes one")
    program = browser()
    if program is None:
        raise LoadTestError(f"no browser found; install Chromium ({', '.join(_BROWSERS)})")
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)  # Chromium's status does not say whether it wrote
    with tempfile.TemporaryDirectory(prefix="loadtests-") as profile:
        options = [
            *("--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"),
            *(f"--window-size={width},{height}", f"--screenshot={picture.resolve()}"),
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # which Chromium cannot build for root
        try:
            done = subprocess.run(
                [program, *options, page.resolve().as_uri()],
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LoadTestError(f"{program} took over {_LIMIT_S} s") from None
    if not picture.is_file():
        raise LoadTestError(f"{program} drew nothing:\n{done.stderr.strip()[-1000:]}")
