import pytest

from ernie_ray.jobs.prediction_files import format_of


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
