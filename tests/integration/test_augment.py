import json

import pytest
import ray
from click.testing import CliRunner

from ernie_ray.cli.augment import command
from ernie_ray.errors import DataError
from ernie_ray.jobs import augment as augment_job
from ernie_ray.jobs.augment import AugmentRequest, augment
from ernie_ray.jobs.row_dataset import row_dataset
from ernie_ray.jobs.storage import Storage
from ernie_ray.text.augment import AugmentSettings
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import RowSchema
from tests.tiny_models import tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]
SCHEMA = RowSchema(label="label", is_label_optional=True)


@pytest.fixture(scope="module")
def rows_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for i in range(2):
        lines = [
            json.dumps({"text": text, "label": label}) for text, label in tiny_rows(120, seed=i)
        ]
        (folder / f"{i}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run(files, tmp_path, name="out.jsonl", schema=SCHEMA, **options):
    keys = ("keeps_originals", "on_bad")
    request = AugmentRequest(
        find_files(files),
        schema,
        AugmentSettings(num_copies=3),
        **{key: options.pop(key) for key in keys if key in options},
    )
    result = augment(request, name, storage=Storage(str(tmp_path)), **options)
    lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
    return result, [json.loads(line) for line in lines]


def test_the_number_of_blocks_or_workers_does_not_change_a_single_byte(
    rows_dir, tmp_path, monkeypatch
):
    small = 1 << 9
    read = row_dataset(find_files(rows_dir), SCHEMA, block_bytes=small)
    assert read.materialize().num_blocks() > 8
    run(rows_dir, tmp_path, "one.jsonl", block_bytes=1 << 24)
    run(rows_dir, tmp_path, "many.jsonl", block_bytes=small)
    # So that one task runs at a time.
    monkeypatch.setattr(augment_job, "WORK_CPUS", ray.cluster_resources()["CPU"])
    run(rows_dir, tmp_path, "alone.jsonl", block_bytes=small)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "many.jsonl").read_bytes()
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_one_file_or_two_make_the_same_copies(rows_dir, tmp_path):
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes(b"".join(p.read_bytes() for p in sorted(rows_dir.iterdir())))
    assert run(rows_dir, tmp_path, "a.jsonl")[1] == run(joined, tmp_path, "b.jsonl")[1]


def test_copies_carry_the_label_and_no_copy_repeats_a_text(rows_dir, tmp_path):
    result, lines = run(rows_dir, tmp_path)
    originals = [line for line in lines if line["copy"] == 0]
    copies = [line for line in lines if line["copy"] > 0]
    expected = [row for i in range(2) for row in tiny_rows(120, seed=i)]
    assert [(line["text"], line["label"]) for line in originals] == expected
    assert (result.num_originals, result.num_copies) == (240, len(copies))
    assert result.num_duplicates > 0
    labels = {line["id"]: line["label"] for line in originals}
    assert all(labels[copy["id"]] == copy["label"] for copy in copies)
    texts = [copy["text"] for copy in copies]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {line["text"] for line in originals}


def test_both_texts_of_a_pair_are_copied_and_rows_may_lack_the_label(tmp_path):
    rows = [
        {"q": "房间很干净吗", "a": "房间非常干净", "label": "1"},
        {"q": "早餐好吃吗", "a": "书店很大"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    schema = RowSchema("q", "a", "label", is_label_optional=True)
    _, lines = run(path, tmp_path, schema=schema, keeps_originals=False)
    assert lines
    assert all(line["q"] and line["a"] and line["copy"] > 0 for line in lines)
    assert {(line["id"], line["label"]) for line in lines} == {(0, "1"), (1, None)}


def test_a_bad_row_is_one_clear_error_and_leaves_no_file(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "好书"}\n{"text": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        run(path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.jsonl"]
    result, lines = run(path, tmp_path, on_bad="skip")
    assert result.num_skipped == 1
    assert lines[0]["text"] == "好书"


def test_a_bad_row_is_met_before_any_text_is_tagged(tmp_path, monkeypatch):
    (tmp_path / "bad.jsonl").write_text('{"text": "好书"}\n{"text": 3}\n', encoding="utf-8")
    monkeypatch.setattr(augment_job, "row_dataset", lambda *_, **__: pytest.fail("texts are read"))
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        run(tmp_path / "bad.jsonl", tmp_path)


def test_numbers_and_files_without_a_header_are_read_as_the_command_is_told(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part.0").write_text("房间很干净\t3.8\n早餐好吃吗\t1\n", encoding="utf-8")
    output = tmp_path / "out.jsonl"
    arguments = ["train", "--columns", "text,score", "--label-column", "score"]
    arguments += ["--label-form", "number", "--copies", "1", "--output", "out.jsonl", "--quiet"]
    result = CliRunner().invoke(command, [*arguments, "--storage", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert {(line["id"], float(line["score"])) for line in lines} == {(0, 3.8), (1, 1.0)}
