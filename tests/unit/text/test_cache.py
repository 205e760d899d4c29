import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_ray.errors import DataError
from ernie_ray.text.cache import ARROW_FILE, SUMMARY_FILE, FeatureCache
from ernie_ray.text.cache_writer import CacheWriter
from ernie_ray.text.features import TokenIds
from tests.full_disk import files_up_to

FILES = ("a.jsonl", "b.jsonl")


def table(rows, label_width=0, file=0, start=0):
    columns = {
        "file": [file] * len(rows),
        "row": list(range(start, start + len(rows))),
        "input_ids": [row.input_ids for row in rows],
        "token_type_ids": pa.array([row.token_type_ids for row in rows], pa.list_(pa.int8())),
        "is_truncated": [row.is_truncated for row in rows],
    }
    if label_width:
        flat = np.arange(len(rows) * label_width, dtype=np.float32)
        columns["label"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), label_width)
    return pa.table(columns)


def row_of(length, is_truncated=False):
    ids = list(range(100, 100 + length))
    return TokenIds(ids, [0] * (length // 2) + [1] * (length - length // 2), is_truncated)


def write(path, tables, label_width=0, **finish):
    with CacheWriter(
        path, digest="d" * 64, file_names=FILES, labels=("x", "y"), label_width=label_width
    ) as writer:
        for part in tables:
            writer.write(part)
        return writer.finish(**finish)


@given(st.lists(st.lists(st.integers(1, 20), max_size=8), min_size=1, max_size=5))
def test_any_rows_come_back_as_they_were_written(tmp_path_factory, parts):
    rows = [[row_of(n, is_truncated=n % 2 == 0) for n in part] for part in parts]
    starts = np.cumsum([0] + [len(part) for part in parts])
    tables = [table(part, start=start) for part, start in zip(rows, starts, strict=False) if part]
    cache = write(tmp_path_factory.mktemp("cache") / "cache", tables)
    flat = [row for part in rows for row in part]
    assert len(cache) == len(flat)
    assert cache.rows(range(len(flat))) == flat
    assert cache.lengths.dtype == np.int32
    assert cache.lengths.tolist() == [len(row) for row in flat]


def test_rows_and_labels_come_in_the_order_asked_for(tmp_path):
    rows = [row_of(n) for n in (3, 1, 4, 1, 5)]
    cache = write(
        tmp_path / "cache", [table(rows[:2], 2), table(rows[2:], 2, file=1)], label_width=2
    )
    assert [len(row) for row in cache.rows(np.array([4, 0, 3]))] == [5, 3, 1]
    np.testing.assert_array_equal(cache.labels([4, 1]), [[4, 5], [2, 3]])
    assert cache.labels([0]).dtype == np.float32


def test_a_cache_without_labels_has_labels_of_width_zero(tmp_path):
    assert write(tmp_path / "cache", [table([row_of(3)])]).labels([0]).shape == (1, 0)


def test_the_summary_counts_what_was_written(tmp_path):
    tables = [
        table([row_of(3), row_of(5, is_truncated=True)]),
        table([row_of(2)], start=7),
        table([row_of(4)], file=1),
    ]
    cache = write(tmp_path / "cache", tables, num_skipped=5, skipped=("a.jsonl:3: bad",))
    summary = cache.summary
    assert summary.num_rows_per_file == {"a.jsonl": 3, "b.jsonl": 1}
    assert (summary.num_rows, summary.num_tokens, summary.num_truncated) == (4, 14, 1)
    assert (summary.num_skipped, summary.skipped) == (5, ("a.jsonl:3: bad",))
    assert summary.labels == ("x", "y")
    assert cache.digest == "d" * 64


def test_rows_stay_on_disk_until_they_are_asked_for(tmp_path):
    path = write(tmp_path / "cache", [table([row_of(1000)] * 1000)]).path
    before = pa.total_allocated_bytes()
    cache = FeatureCache.open(path)
    assert len(cache.rows([999])[0]) == 1000
    assert pa.total_allocated_bytes() - before < 100_000


@pytest.mark.parametrize(
    "second", [{"file": 0, "start": 1}, {"file": 0, "start": 0}], ids=["repeated", "earlier"]
)
def test_rows_out_of_input_order_are_refused(tmp_path, second):
    with pytest.raises(ValueError, match="out of input order"):
        write(tmp_path / "cache", [table([row_of(1)] * 2), table([row_of(1)], **second)])


def test_rows_of_an_earlier_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="out of input order"):
        write(tmp_path / "cache", [table([row_of(1)], file=1), table([row_of(1)], file=0, start=5)])


def test_an_unfinished_cache_leaves_nothing_behind(tmp_path):
    with CacheWriter(tmp_path / "cache", digest="d", file_names=FILES) as writer:
        writer.write(table([row_of(3)]))
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_finds_no_room_leaves_nothing_behind(tmp_path):
    with files_up_to(2_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "cache", [table([row_of(20)] * 500)])
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_the_same_cache_end_with_one(tmp_path):
    first = write(tmp_path / "cache", [table([row_of(3)])])
    second = write(tmp_path / "cache", [table([row_of(3)])])
    assert first.rows([0]) == second.rows([0])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("index", [-1, 1])
def test_a_row_outside_the_cache_is_refused(tmp_path, index):
    cache = write(tmp_path / "cache", [table([row_of(3)])])
    with pytest.raises(IndexError, match="of 1"):
        cache.rows([index])


def break_summary(path):
    (path / SUMMARY_FILE).write_text("{}")


def cut_arrow_file(path):
    content = (path / ARROW_FILE).read_bytes()
    (path / ARROW_FILE).write_bytes(content[: len(content) // 2])


def exchange_summary(path):
    text = (path / SUMMARY_FILE).read_text()
    (path / SUMMARY_FILE).write_text(text.replace("d" * 64, "e" * 64))


def remove_arrow_file(path):
    (path / ARROW_FILE).unlink()


@pytest.mark.parametrize(
    "damage", [break_summary, cut_arrow_file, exchange_summary, remove_arrow_file]
)
def test_a_broken_cache_is_refused_by_name(tmp_path, damage):
    path = write(tmp_path / "cache", [table([row_of(3)] * 100)]).path
    damage(path)
    with pytest.raises(DataError, match=f"^{path}.*remove it"):
        FeatureCache.open(path)
