"""What `python -m loadtests COMMAND --help` shows."""

import pytest
from click.testing import CliRunner

from loadtests.cli import main


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"list"}))
def test_examples_keep_their_lines(name):
    shown = CliRunner().invoke(main, [name, "--help"]).output
    examples = shown.split("  Examples:\n", 1)[1].split("\n\n", 1)[0].splitlines()
    assert examples
    assert all(line.startswith("    ") for line in examples)
    assert examples[0].strip().startswith(f"python -m loadtests {name}")
