"""The command line in this process, where it shall end in an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import pytest

from ernie_ray.cli import main


def error_of(
    arguments: Sequence[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Run a command that must fail with exit code 1; gives the one line of its error."""
    # Ray Data's handler keeps the stderr of the first test, which is closed in the others.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(sys, "argv", ["ernie-ray", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr()
    assert end.value.code == 1
    assert output.out == ""
    lines = [line for line in output.err.splitlines() if line.startswith("ernie-ray: ")]
    assert len(lines) == 1
    assert "Traceback" not in output.err
    return lines[0]
