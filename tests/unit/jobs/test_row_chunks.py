import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

from ernie_ray.errors import DataError
from ernie_ray.jobs.row_blocks import BadRowFilter
from ernie_ray.jobs.row_chunks import END_OF_FILE, Chunking, read_chunks, unpack
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import files_of

NUM_ROWS = 5000


@pytest.fixture
def path(tmp_path):
    """Rows that compress little, so that much of the file can be read where its end is missing."""
    noise = np.random.default_rng(0).integers(0, 2**63, (NUM_ROWS, 8))
    lines = (json.dumps({"text": " ".join(map(str, row))}) for row in noise)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def chunks(path, rows_per_chunk=64):
    schema = RowSchema("text")
    files = files_of(path, schema)
    entries = read_chunks(pa.table({"file": [0]}), files, schema, Chunking(rows_per_chunk))
    return [entry.to_pylist()[0] for entry in entries]


def test_a_files_chunks_are_its_rows_in_order(path):
    *found, end = chunks(path)
    assert [entry["chunk"] for entry in found] == list(range(-(-NUM_ROWS // 64)))
    rows = [row for entry in found for row in unpack(entry["rows"])["row"].to_pylist()]
    assert rows == list(range(NUM_ROWS))
    assert (end["chunk"], end["num_rows"]) == (END_OF_FILE, NUM_ROWS)


def test_reading_that_breaks_off_leaves_whole_chunks_only(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    *found, end = chunks(path)
    assert len(found) > 1
    assert {entry["num_rows"] for entry in found} == {64}
    assert end["num_rows"] % 64  # there were rows of a chunk that did not get whole
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz"):
        BadRowFilter("error").good(unpack(end["rows"]))
