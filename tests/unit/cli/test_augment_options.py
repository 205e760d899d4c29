"""What `augment` refuses before it reads a row or starts Ray."""

import pytest
from click.testing import CliRunner

from ernie_ray.cli.augment import command
from ernie_ray.errors import ConfigError


def augment(*options):
    return CliRunner().invoke(command, ["absent.jsonl", *options])


@pytest.mark.parametrize(
    "output", ["out.csv", "out.tsv", "out.jsonl.gz", "out", "s3://b/x?y=.jsonl"]
)
def test_an_output_that_is_neither_json_lines_nor_parquet_is_refused(output):
    error = augment("--output", output).exception
    assert isinstance(error, ConfigError)
    assert output in str(error)
    assert ".jsonl or .parquet" in str(error)


@pytest.mark.parametrize(
    "wrong", [("--copies", "-1"), ("--copies", "0"), ("--min-words", "0"), ("--noise", "nan")]
)
def test_numbers_that_make_no_copies_are_refused_by_the_options_name(wrong):
    done = augment("--output", "out.jsonl", *wrong)
    assert done.exit_code == 2
    assert f"Invalid value for '{wrong[0]}'" in done.output
