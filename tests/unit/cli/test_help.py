import pytest
from click.testing import CliRunner

from ernie_ray.cli import COMMANDS, group


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_examples_line_by_line(name):
    done = CliRunner().invoke(group, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "\\b" not in done.output
    lines = done.output.splitlines()
    first = lines.index("  Examples:") + 1
    assert f"ernie-ray {name}" in done.output
    assert lines[first].startswith("    ")


def test_the_group_shows_its_examples_line_by_line():
    assert "\n  Examples:\n    ernie-ray tour\n" in CliRunner().invoke(group, ["--help"]).output
