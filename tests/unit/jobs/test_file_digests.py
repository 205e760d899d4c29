"""Counts for a bar, which must not fail where the reader says what is wrong."""

import gzip

import pytest

from ernie_ray.jobs.file_digests import expected_rows
from ernie_ray.text.row_files import find_files


def damaged_gzip() -> bytes:
    whole = bytearray(gzip.compress(b'{"text": "x"}\n' * 1000))
    whole[20] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1x"),
        ("a.jsonl.gz", damaged_gzip()),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 1000)[:-9]),
        ("a.jsonl.gz", b'{"text": "x"}'),
    ],
)
def test_a_broken_file_counts_for_nothing(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert expected_rows(find_files(tmp_path / name)) == 0


def test_a_suffix_may_be_in_capitals(tmp_path):
    (tmp_path / "a.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "x"}\n' * 3))
    assert expected_rows(find_files(tmp_path)) == 3
