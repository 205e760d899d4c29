"""Write a measured table to docs/results with what it takes to read and repeat it.

Does not measure anything.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parents[1] / "docs" / "results"
# A benchmark of several tables writes the first before it measures the last.
_NO_RESULTS = ":(top,exclude)docs/results"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table: the first column to the left, the others to the right."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median with the quartiles: ``5.3 (5.1-5.6)``."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def command_line(module: str) -> str:
    """Give what was typed to run a benchmark, options included."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *sys.argv[1:]])


def write_result(name: str, title: str, command: str, body: str) -> Path:
    """Write ``docs/results/<name>.md`` anew.

    Args:
        name: File name without its ending.
        title: Heading.
        command: What makes this table again, from the project's root.
        body: Markdown: the table and how to read it.
    """
    facts = [
        f"- command: `{command}`",
        f"- commit: {_commit()}",
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"- machine: {_cpu()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(f"# {title}\n\n" + "\n".join(facts) + f"\n\n{body}\n", encoding="utf-8")
    return path


def _commit() -> str:
    """The checked-out commit, marked if tracked files but results were changed since."""
    described = _git("rev-parse", "--short", "HEAD")
    if described is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", _NO_RESULTS)
    return f"{described}-dirty" if changed else described


def _git(*arguments: str) -> str | None:
    """What the command printed; None: it failed."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    found = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    flags = found.get("flags", "").split()
    widest = next((f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in flags), "")
    return f"{found.get('model name', platform.machine())} ({widest})" if widest else "unknown CPU"
