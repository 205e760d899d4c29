import gc
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from ernie_ray.cli.evaluate import command as evaluate_command
from ernie_ray.cli.predict import command as predict_command
from ernie_ray.errors import ConfigError, DataError, ModelDirError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import predict as predict_job
from ernie_ray.jobs.evaluate import measure
from ernie_ray.jobs.parts import Parts
from ernie_ray.jobs.predict import PredictRequest, RunOptions, predict
from ernie_ray.jobs.storage import Storage
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import RowSchema
from tests.cluster_cpus import wait_for_all_cpus
from tests.tiny_models import export_tiny_student, tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

FP32 = RunOptions(engine="onnxruntime", precision="fp32")
FP32_ARGS = ["--engine", "onnxruntime", "--precision", "fp32", "--quiet"]


@pytest.fixture(scope="module")
def rows_dir(tmp_path_factory):
    """Three files of 400 labelled rows."""
    folder = tmp_path_factory.mktemp("rows")
    for i in range(3):
        lines = [
            json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n"
            for text, label in tiny_rows(400, seed=i)
        ]
        (folder / f"{i}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def predictor(tiny_model_dir):
    return Predictor.from_dir(tiny_model_dir, engine="onnxruntime", precision="fp32")


def request_for(model_dir, location, **changes):
    request = PredictRequest(model_dir, find_files(location), RowSchema(), options=FP32)
    return replace(request, **changes)


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def all_texts(folder):
    return [line["text"] for path in sorted(folder.iterdir()) for line in read_lines(path)]


def run(request, tmp_path, name="out.jsonl", **options):
    predict(request, storage=Storage(str(tmp_path)), output=name, **options)
    return tmp_path / name


def test_each_row_keeps_its_text_and_place_and_gets_what_the_predictor_gives(
    tiny_model_dir, rows_dir, tmp_path, predictor
):
    lines = read_lines(run(request_for(tiny_model_dir, rows_dir, has_vectors=True), tmp_path))
    texts = all_texts(rows_dir)
    expected = predictor.predict(texts)
    assert [line["id"] for line in lines] == list(range(1200))
    assert [line["text"] for line in lines] == texts
    assert [line["label"] for line in lines] == [p.result["label"] for p in expected]
    for key in ("score", "scores"):
        got = np.array([_numbers(line[key]) for line in lines])
        want = np.array([_numbers(p.result[key]) for p in expected])
        np.testing.assert_allclose(got, want, atol=1e-5)
    vectors = np.array([line["vector"] for line in lines])
    np.testing.assert_allclose(vectors, np.stack([p.vector for p in expected]), atol=1e-5)


def test_a_student_predicts_rows_as_any_model(rows_dir, tmp_path):
    student = export_tiny_student(tmp_path / "student")
    request = request_for(student, rows_dir / "0.jsonl", options=RunOptions())
    lines = read_lines(run(request, tmp_path))
    expected = Predictor.from_dir(student).predict([line["text"] for line in lines])
    assert [line["label"] for line in lines] == [p.result["label"] for p in expected]
    measured = measure(student, rows_dir / "0.jsonl", RowSchema(label="label"))
    right = [
        line["label"] == given["label"]
        for line, given in zip(lines, read_lines(rows_dir / "0.jsonl"), strict=True)
    ]
    assert measured.metrics["accuracy"] == pytest.approx(np.mean(right))


def _numbers(value):
    return list(value.values()) if isinstance(value, dict) else [value]


def test_actors_on_ray_give_the_same_rows_in_the_same_order(
    local_ray, tiny_model_dir, rows_dir, tmp_path
):
    request = request_for(tiny_model_dir, rows_dir)
    here = read_lines(run(request, tmp_path, "here.jsonl"))
    on_ray = read_lines(run(request, tmp_path, "ray.jsonl", num_actors=2))
    assert [(r["id"], r["text"], r["label"]) for r in on_ray] == [
        (r["id"], r["text"], r["label"]) for r in here
    ]
    np.testing.assert_allclose([r["score"] for r in on_ray], [r["score"] for r in here], atol=1e-5)


def test_parquet_holds_the_same_as_json_lines(tiny_model_dir, rows_dir, tmp_path):
    request = request_for(tiny_model_dir, rows_dir / "0.jsonl", has_vectors=True)
    lines = read_lines(run(request, tmp_path))
    table = pyarrow.parquet.read_table(run(request, tmp_path, "out.parquet", kind="parquet"))
    assert table.column_names == list(lines[0])
    assert table["text"].to_pylist() == [line["text"] for line in lines]
    np.testing.assert_allclose(
        np.stack(table["vector"].to_numpy()), [line["vector"] for line in lines], rtol=1e-6
    )


def test_vectors_alone_are_one_array_that_can_be_mapped(tiny_model_dir, rows_dir, tmp_path):
    request = request_for(tiny_model_dir, rows_dir, has_vectors=True)
    path = run(request, tmp_path, "vectors.npy", kind="npy")
    vectors = np.load(path, mmap_mode="r")
    assert vectors.dtype == np.float32
    lines = read_lines(run(request, tmp_path))
    np.testing.assert_array_equal(vectors, np.float32([line["vector"] for line in lines]))


def test_an_interrupted_run_goes_on_and_each_row_is_there_once(
    tiny_model_dir, rows_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(predict_job, "ROWS_PER_CHUNK", 128)
    request = request_for(tiny_model_dir, rows_dir)
    whole = run(request, tmp_path, "whole.jsonl").read_bytes()
    write = Parts.write
    done: list[tuple[int, int]] = []

    def write_until_killed(self, file, chunk, rows):
        if len(done) == 5:
            raise KeyboardInterrupt
        write(self, file, chunk, rows)
        done.append((file, chunk))

    monkeypatch.setattr(Parts, "write", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(request, tmp_path)
    assert not (tmp_path / "out.jsonl").exists()
    again: list[tuple[int, int]] = []
    monkeypatch.setattr(Parts, "write", lambda *args: (again.append(args[1:3]), write(*args))[1])
    assert run(request, tmp_path).read_bytes() == whole
    assert not set(done) & set(again)
    assert sorted(done + again) == [(file, chunk) for file in range(3) for chunk in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]


def test_a_model_without_a_head_gives_vectors_only(tiny_embedding_dir, rows_dir, tmp_path):
    request = request_for(tiny_embedding_dir, rows_dir / "0.jsonl", has_vectors=True)
    line = read_lines(run(request, tmp_path))[0]
    assert sorted(line) == ["id", "is_truncated", "text", "vector"]
    assert np.linalg.norm(line["vector"]) == pytest.approx(1, abs=1e-5)


def test_pairs_are_predicted_as_pairs(tiny_model_dir, tmp_path, predictor):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"q": "这本书", "a": "很好"}\n', encoding="utf-8")
    request = request_for(tiny_model_dir, path, schema=RowSchema(text="q", text_pair="a"))
    (line,) = read_lines(run(request, tmp_path))
    (expected,) = predictor.predict([("这本书", "很好")])
    assert (line["text"], line["text_pair"]) == ("这本书", "很好")
    assert line["score"] == pytest.approx(expected.result["score"], abs=1e-5)


@pytest.mark.parametrize("num_actors", [0, 1])
def test_a_bad_row_ends_in_one_error_and_no_output(
    local_ray, tiny_model_dir, rows_dir, tmp_path, num_actors
):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "0.jsonl").write_bytes((rows_dir / "0.jsonl").read_bytes() + b'{"text": 5}\n')
    (folder / "1.jsonl").write_bytes(b"not JSON\n")
    with pytest.raises(DataError, match=r"0.jsonl:401: 'text' is a int") as caught:
        run(request_for(tiny_model_dir, folder), tmp_path, num_actors=num_actors)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("num_actors", [0, 1])
def test_skipped_rows_leave_the_other_ids_as_they_are(
    local_ray, tiny_model_dir, tmp_path, num_actors
):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "0.jsonl").write_text('{"text": "a"}\n{"text": ""}\n{"text": "c"}\n{"text": ""}\n')
    (folder / "1.jsonl").write_text('{"text": ""}\n{"text": "f"}\n')
    result = predict(
        request_for(tiny_model_dir, folder, options=replace(FP32, on_bad="skip")),
        storage=Storage(str(tmp_path)),
        output="out.jsonl",
        num_actors=num_actors,
    )
    lines = read_lines(tmp_path / "out.jsonl")
    assert [(line["id"], line["text"]) for line in lines] == [(0, "a"), (2, "c"), (5, "f")]
    assert (result.num_rows, result.num_skipped) == (3, 3)
    assert result.skipped[0].startswith(f"{folder}/0.jsonl:2: 'text' is empty")


def test_a_broken_model_directory_is_the_error_of_the_job(tmp_path, rows_dir):
    with pytest.raises(ModelDirError, match="not a model directory"):
        run(request_for(tmp_path, rows_dir), tmp_path)


def test_an_engine_that_an_actor_cannot_load_is_the_error_of_the_job_and_frees_its_cpus(
    local_ray, tiny_model_dir, rows_dir, tmp_path
):
    options = replace(FP32, engine="nonsense")
    request = request_for(tiny_model_dir, rows_dir, options=options)
    gc.disable()  # it would free them by chance
    try:
        with pytest.raises(ConfigError, match="nonsense") as caught:
            run(request, tmp_path, num_actors=1)
        wait_for_all_cpus()
    finally:
        gc.enable()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "这本书很好\n服务很差\n",
        '{"text": "这本书很好"}\n{"text": "服务很差"}\n',
        '\ufeff{"text": "这本书很好"}\n{"text": "服务很差"}\n',
    ],
    ids=["plain", "jsonl", "byte order mark"],
)  # fmt: skip
def test_the_command_reads_standard_input(tiny_model_dir, text):
    done = CliRunner().invoke(predict_command, [str(tiny_model_dir), "-", *FP32_ARGS], input=text)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["这本书很好", "服务很差"]
    assert {line["label"] for line in lines} <= {"negative", "positive"}


def test_the_command_names_a_bad_line_of_standard_input(tiny_model_dir):
    done = CliRunner().invoke(
        predict_command, [str(tiny_model_dir), "-", *FP32_ARGS], input='{"text": "a"}\n{"x": 1}\n'
    )
    assert isinstance(done.exception, DataError)
    assert str(done.exception).startswith("<stdin>:2: column 'text' is missing")


def test_the_command_writes_parquet_by_suffix_and_lists_what_it_skipped(tiny_model_dir, tmp_path):
    (tmp_path / "in.csv").write_text("review\na\n \nb\n")
    arguments = [str(tiny_model_dir), "in.csv", "--text-column", "review", "--bad-rows", "skip"]
    done = CliRunner().invoke(
        predict_command,
        [*arguments, "--output", "out/p.parquet", "--storage", str(tmp_path), *FP32_ARGS],
    )
    assert done.exit_code == 0, done.output
    table = pyarrow.parquet.read_table(tmp_path / "out" / "p.parquet")
    assert table["text"].to_pylist() == ["a", "b"]
    assert "skipped 1 bad rows" in done.stderr
    assert "in.csv:3: 'review' is empty" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--output", "v.npy"], "add --vectors"),
        (["--format", "npy", "--vectors"], "npy cannot be written to standard output"),
        (["--format", "parquet"], "parquet cannot be written to standard output"),
    ],
)
def test_the_command_refuses_a_format_that_cannot_be(tiny_model_dir, options, says):
    done = CliRunner().invoke(predict_command, [str(tiny_model_dir), "rows.jsonl", *options])
    assert done.exit_code == 2
    assert says in done.stderr


def test_in_a_submitted_job_a_relative_path_is_refused(tiny_model_dir, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.delenv("ERNIE_RAY_STORAGE", raising=False)
    done = CliRunner().invoke(predict_command, [str(tiny_model_dir), "rows.jsonl"])
    assert isinstance(done.exception, ConfigError)
    assert "inside a submitted job" in str(done.exception)


def test_evaluation_measures_what_the_labels_say(tiny_model_dir, rows_dir, predictor):
    evaluation = measure(tiny_model_dir, rows_dir, RowSchema(label="label"), options=FP32)
    labels = [line["label"] for path in sorted(rows_dir.iterdir()) for line in read_lines(path)]
    results = predictor.predict(all_texts(rows_dir))
    guesses = [p.result["label"] for p in results]
    accuracy = np.mean([a == b for a, b in zip(labels, guesses, strict=True)])
    assert evaluation.metrics["accuracy"] == pytest.approx(accuracy)
    assert evaluation.num_rows == 1200


def test_evaluation_refuses_what_it_cannot_measure(
    tiny_model_dir, tiny_embedding_dir, rows_dir, tmp_path
):
    with pytest.raises(ConfigError, match="no head"):
        measure(tiny_embedding_dir, rows_dir, RowSchema(label="label"), options=FP32)
    with pytest.raises(ConfigError, match="label column"):
        measure(tiny_model_dir, rows_dir, RowSchema(), options=FP32)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "meh"}\n')
    with pytest.raises(DataError, match=r"a.jsonl:1: label 'label' is 'meh', which is none of"):
        measure(tiny_model_dir, tmp_path, RowSchema(label="label"), options=FP32)


def test_the_evaluate_command_prints_and_writes_the_metrics(tiny_model_dir, rows_dir, tmp_path):
    done = CliRunner().invoke(
        evaluate_command,
        [str(tiny_model_dir), str(rows_dir), "--output", str(tmp_path / "m.json"), *FP32_ARGS],
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["num_rows"] == 1200
    assert f"{record['metrics']['accuracy']:.4f}" in done.stdout
    assert record["engine"] == "onnxruntime fp32"
