import pyarrow.parquet

from ernie_ray.config import TinyDataSection
from ernie_ray.jobs.joined_rows import write_task_rows
from ernie_ray.jobs.storage import Storage
from ernie_ray.text.row_schema import RowSchema
from tests.tiny_tasks import write_jsonl


def test_copies_stay_copies_and_unlabelled_rows_have_no_label(tmp_path):
    given = [{"text": "好", "label": "1", "copy": i} for i in (0, 1, 2)]
    write_jsonl(tmp_path / "train.jsonl", given)
    write_jsonl(tmp_path / "more.jsonl", [{"text": "差", "label": "0"}])
    names = dict.fromkeys(("train", "dev", "test"), "train.jsonl")
    data = TinyDataSection(**names, unlabelled=("more.jsonl",))
    storage = Storage(str(tmp_path))
    write_task_rows(data, RowSchema(label="label"), "rows.parquet", storage, has_unlabelled=True)
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist() == [
        *given,
        {"text": "差", "label": None, "copy": 0},
    ]
