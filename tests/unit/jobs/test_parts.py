import tempfile

import pyarrow as pa
import pytest

from ernie_ray.errors import DataError
from ernie_ray.jobs.parts import Parts
from ernie_ray.jobs.storage import Storage


def rows(start: int, end: int) -> pa.Table:
    return pa.table(
        {"row": list(range(start, end)), "text": [f"text {i}" for i in range(start, end)]}
    )


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A storage at a URI, whose temporary files and downloads would lie in ``here``."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(here))
    return Storage(f"file://{tmp_path}/bucket", download_dir=here / "downloads")


def test_parts_at_a_uri_are_read_where_they_lie_and_leave_nothing_on_this_machine(remote, tmp_path):
    parts = Parts(remote, ".out.parts")
    parts.write(0, 0, rows(0, 2))
    parts.write(0, 1, rows(2, 3))
    again = Parts(remote, ".out.parts")
    assert again.num_rows == {(0, 0): 2, (0, 1): 1}
    texts = [text for part in again.in_order({0: 3}) for text in part["text"].to_pylist()]
    assert texts == ["text 0", "text 1", "text 2"]
    assert list((tmp_path / "here").iterdir()) == []
    again.remove()
    assert not (tmp_path / "bucket" / ".out.parts").exists()


def test_a_part_that_is_not_whole_is_done_again(remote, tmp_path):
    parts = Parts(remote, ".out.parts")
    parts.write(0, 0, rows(0, 2))
    path = tmp_path / "bucket" / ".out.parts" / "part-00000-0000000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    again = Parts(remote, ".out.parts")
    assert again.num_rows == {}
    with pytest.raises(DataError, match="run the same command again"):
        again.check_whole({0: 2}, 2)


def test_a_part_with_other_rows_than_it_should_have_is_done_again(remote):
    parts = Parts(remote, ".out.parts")
    parts.write(0, 0, rows(0, 2))
    parts.write(0, 1, rows(2, 3))
    with pytest.raises(DataError, match=r"chunks \[\(0, 1\)\].*run the same command again"):
        parts.check_whole({0: 4}, 2)
    assert Parts(remote, ".out.parts").num_rows == {(0, 0): 2}
