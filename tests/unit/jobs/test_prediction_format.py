import pytest

from ernie_ray.errors import ConfigError
from ernie_ray.jobs.prediction_files import format_among, format_of


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out.parquet", "parquet"),
        ("s3://bucket/out.npy?region=eu", "npy"),
        ("s3://bucket/out?name=x.npy", "jsonl"),
        ("what?.parquet", "parquet"),
        ("", "jsonl"),
    ],
)
def test_the_path_says_what_is_written_and_a_uris_options_do_not(output, expected):
    assert format_of(output) == expected


def test_a_file_whose_format_is_no_choice_is_refused():
    assert format_among("far://b/x.parquet?region=eu", ("jsonl", "parquet")) == "parquet"
    for output in ("x.npy", "x", "far://b/x?name=a.jsonl"):
        with pytest.raises(ConfigError, match=r"give a name in \.jsonl or \.parquet"):
            format_among(output, ("jsonl", "parquet"))
