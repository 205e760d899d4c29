"""Labelling on real Ray Data actors and in this process: what comes out, and what is refused."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from ernie_ray.errors import ConfigError, DataError, InferenceError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import label as label_job
from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.label_request import Selection
from ernie_ray.jobs.labelled_rows import MANIFEST, ROWS
from ernie_ray.jobs.parts import Parts
from ernie_ray.modeldir import ClassificationSpec, PairSpec, TokenLabelsSpec
from ernie_ray.text.rows import read_rows
from ernie_ray.text.tags import tag_names
from tests.labelling import SCHEMA, logits_of, parts_in, request_for, run
from tests.tiny_models import export_tiny_classifier, tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
NUM_ROWS = 900


@pytest.fixture(scope="module")
def rows_dir(tmp_path_factory):
    """Three files of 300 rows; those of the last one have no label."""
    folder = tmp_path_factory.mktemp("rows")
    for i in range(3):
        rows = [{"text": t, "label": l} if i < 2 else {"text": t} for t, l in tiny_rows(300, i)]  # noqa: E741
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{i}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tiny_model_dir, rows_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run(request_for(tiny_model_dir, rows_dir), folder, pool=Pool(0))[1]


def test_each_row_keeps_its_place_and_gets_the_teachers_logits(
    tiny_model_dir, rows_dir, tmp_path, uninterrupted
):
    manifest, table = run(
        request_for(tiny_model_dir, rows_dir, has_vectors=True), tmp_path, pool=Pool(0)
    )
    expected = [row for i in range(3) for row in tiny_rows(300, i)]
    texts = [text for text, _ in expected]
    assert table["id"].to_pylist() == list(range(NUM_ROWS))
    assert table["text"].to_pylist() == texts
    labels = [lab for _, lab in expected[:600]] + [None] * 300
    assert table["label"].to_pylist() == labels
    predictor = Predictor.from_dir(tiny_model_dir, engine="onnxruntime", precision="fp32")
    outputs = predictor.run(texts)
    np.testing.assert_allclose(logits_of(table), outputs.logits, atol=1e-5)
    np.testing.assert_array_equal(logits_of(table), logits_of(uninterrupted))
    norms = np.linalg.norm(np.stack(table["teacher_vector"].to_numpy()), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-4)
    assert manifest.teacher == predictor.fingerprint
    assert manifest.engine == "onnxruntime fp32"
    assert manifest.labels == ("negative", "positive")
    assert sum(manifest.num_rows_per_class.values()) == manifest.num_rows == NUM_ROWS


def test_actors_on_ray_give_the_same(local_ray, tiny_model_dir, rows_dir, tmp_path, uninterrupted):
    _, table = run(request_for(tiny_model_dir, rows_dir), tmp_path, pool=Pool(2))
    assert table.equals(uninterrupted)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [MANIFEST, ROWS]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]  # no parts are left


@pytest.mark.parametrize("pool", [Pool(2, cpus_per_actor=2.0), Pool(1, cpus_per_actor=4.0)])
def test_actors_that_leave_no_cpu_get_their_rows_all_the_same(
    local_ray, tiny_model_dir, rows_dir, tmp_path, uninterrupted, pool
):
    _, table = run(request_for(tiny_model_dir, rows_dir), tmp_path, pool=pool)
    assert table["id"].to_pylist() == uninterrupted["id"].to_pylist()


def test_a_bad_row_is_met_before_the_teacher_loads(tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(label_job, "Teacher", lambda *_, **__: pytest.fail("the teacher loads"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "好"}\n' * 700 + '{"text": ""}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl:701: 'text' is empty"):
        run(request_for(tiny_model_dir, rows), tmp_path, pool=Pool(0))


def test_answers_that_are_no_numbers_name_the_rows_that_got_them(
    tiny_model_dir, rows_dir, tmp_path, monkeypatch
):
    forward = Predictor.forward
    num_calls = itertools.count()

    def broken(predictor, rows):
        outputs = forward(predictor, rows)
        return replace(outputs, vectors=outputs.vectors * (np.nan if next(num_calls) > 4 else 1))

    monkeypatch.setattr(Predictor, "forward", broken)
    with pytest.raises(InferenceError, match=r"\d\.jsonl: in rows \d+ to \d+: NaN"):
        run(request_for(tiny_model_dir, rows_dir), tmp_path, pool=Pool(0))


def test_a_file_that_stands_in_two_inputs_is_refused(tiny_model_dir, rows_dir, tmp_path):
    request = request_for(tiny_model_dir, rows_dir)
    doubled = replace(request, files=(*request.files, request.files[1]))
    with pytest.raises(DataError, match=r"1\.jsonl: stands in more than one"):
        run(doubled, tmp_path, pool=Pool(0))


def test_parts_of_a_run_that_was_killed_after_its_end_are_removed(
    tiny_model_dir, rows_dir, tmp_path, monkeypatch
):
    request = request_for(tiny_model_dir, rows_dir)
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "remove", lambda _: None)  # as if killed right before
        run(request, tmp_path, pool=Pool(0))
    assert parts_in(tmp_path)
    run(request, tmp_path, pool=Pool(0))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_finished_output_is_found_and_other_options_refuse_it(tiny_model_dir, rows_dir, tmp_path):
    request = request_for(tiny_model_dir, rows_dir / "0.jsonl")
    first, _ = run(request, tmp_path, pool=Pool(0))
    before = (tmp_path / "out" / ROWS).stat().st_mtime_ns
    assert run(request, tmp_path, pool=Pool(0))[0] == first
    assert (tmp_path / "out" / ROWS).stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="choose another output"):
        run(request_for(tiny_model_dir, rows_dir / "1.jsonl"), tmp_path, pool=Pool(0))


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_finished_output_without_its_rows_is_not_taken_for_finished(
    tiny_model_dir, rows_dir, tmp_path, damage
):
    request = request_for(tiny_model_dir, rows_dir / "0.jsonl")
    run(request, tmp_path, pool=Pool(0))
    rows = tmp_path / "out" / ROWS
    if damage == "removed":
        rows.unlink()
    else:
        rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"out/rows\.parquet is .*; remove the folder"):
        run(request, tmp_path, pool=Pool(0))
    assert (tmp_path / "out" / MANIFEST).exists()


def test_an_output_that_is_taken_is_refused_before_any_row_is_labelled(
    tiny_model_dir, rows_dir, tmp_path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    request = request_for(
        tiny_model_dir, rows_dir / "0.jsonl", rows_per_chunk=0
    )  # labelling would fail
    with pytest.raises(ConfigError, match="out exists already"):
        run(request, tmp_path, pool=Pool(0))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_unsure_rows_and_surplus_are_left_out_but_never_labelled_ones(
    tiny_model_dir, rows_dir, tmp_path, uninterrupted
):
    logits = logits_of(uninterrupted)
    sure = np.sort(1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1]))))
    threshold = float(np.median(sure))
    request = request_for(
        tiny_model_dir, rows_dir, selection=Selection(threshold, balance=True, seed=1)
    )
    manifest, table = run(request, tmp_path, pool=Pool(0))
    ids = set(table["id"].to_pylist())
    assert ids >= set(range(600))
    assert manifest.num_unsure > 0
    assert manifest.num_rows + manifest.num_unsure + manifest.num_surplus == NUM_ROWS


def test_of_rows_without_a_label_each_class_keeps_as_many_as_the_rarest(
    tiny_model_dir, rows_dir, tmp_path, uninterrupted
):
    free = logits_of(uninterrupted)[600:].argmax(axis=1)
    num_each = np.bincount(free, minlength=2)
    assert 0 < num_each.min() < num_each.max()
    request = request_for(tiny_model_dir, rows_dir, selection=Selection(balance=True, seed=1))
    manifest, table = run(request, tmp_path, pool=Pool(0))
    kept = [i - 600 for i in table["id"].to_pylist() if i >= 600]
    assert np.bincount(free[kept]).tolist() == [num_each.min()] * 2
    assert manifest.num_surplus == num_each.max() - num_each.min()


def test_a_seed_that_draws_nothing_asks_the_teacher_for_nothing(
    tiny_model_dir, rows_dir, tmp_path, monkeypatch
):
    for seed in (1, 2):
        request = request_for(tiny_model_dir, rows_dir, selection=Selection(seed=seed))
        run(request, tmp_path, pool=Pool(0))
        monkeypatch.setattr(label_job, "Teacher", lambda *_, **__: pytest.fail("it loads again"))


def test_every_engine_that_gave_answers_is_named(tiny_model_dir, rows_dir, tmp_path, monkeypatch):
    found = itertools.cycle(["openvino bf16", "onnxruntime fp32"])
    monkeypatch.setattr(label_job.Teacher, "engine", property(lambda _: next(found)))
    manifest, _ = run(request_for(tiny_model_dir, rows_dir), tmp_path, pool=Pool(0))
    assert manifest.engine == "onnxruntime fp32, openvino bf16"


def test_a_copy_is_left_out_as_if_it_had_no_label(tiny_model_dir, tmp_path):
    rows = [{"text": "好书", "label": "positive", "copy": copy} for copy in (0, 1)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = request_for(tiny_model_dir, path, selection=Selection(min_confidence=1.0))
    manifest, table = run(request, tmp_path, pool=Pool(0))
    assert table["copy"].to_pylist() == [0]
    assert manifest.num_unsure == 1


@pytest.mark.parametrize("num_actors", [0, 1])
def test_a_bad_row_is_one_error_or_is_left_out(local_ray, tiny_model_dir, tmp_path, num_actors):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "好"}\n{"text": ""}\n{"text": "差"}\n', encoding="utf-8")
    pool = Pool(num_actors)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: 'text' is empty"):
        run(request_for(tiny_model_dir, path), tmp_path, pool=pool)
    manifest, table = run(
        request_for(tiny_model_dir, path, on_bad="skip"), tmp_path, "skip", pool=pool
    )
    assert table["id"].to_pylist() == [0, 2]
    assert manifest.num_skipped == 1


def test_a_model_without_a_head_cannot_teach(tiny_embedding_dir, rows_dir, tmp_path):
    with pytest.raises(ConfigError, match="nothing to teach"):
        run(request_for(tiny_embedding_dir, rows_dir), tmp_path, pool=Pool(0))


def test_a_tagger_cannot_label_texts_and_numbers_are_not_chosen_by_class(rows_dir, tmp_path):
    task = TokenLabelsSpec(labels=tag_names(("LOC", "PER"), "BIO"))
    tagger = export_tiny_classifier(tmp_path / "tagger", task=task)
    with pytest.raises(ConfigError, match="one answer for each text"):
        run(request_for(tagger, rows_dir), tmp_path, pool=Pool(0))
    scorer = export_tiny_classifier(tmp_path / "scorer", task=PairSpec())
    for selection in (Selection(0.9), Selection(balance=True)):
        with pytest.raises(ConfigError, match="no row is of a class"):
            run(request_for(scorer, rows_dir, selection=selection), tmp_path, pool=Pool(0))


def test_classes_are_not_balanced_where_a_text_has_any_number_of_them(rows_dir, tmp_path):
    task = ClassificationSpec(labels=("clean", "cheap"), multi_label=True)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=task)
    request = request_for(teacher, rows_dir / "2.jsonl", selection=Selection(balance=True))
    with pytest.raises(ConfigError, match="leave balance out"):
        run(request, tmp_path, pool=Pool(0))


def test_a_row_with_none_of_the_labels_keeps_that(rows_dir, tmp_path):
    task = ClassificationSpec(labels=("clean", "cheap"), multi_label=True)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=task)
    rows = [{"text": "房间很干净", "label": []}, {"text": "服务很好"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _, table = run(request_for(teacher, file), tmp_path, pool=Pool(0))
    assert table["label"].to_pylist() == ["|", None]
    again = replace(SCHEMA, labels=task.labels, is_multi_label=True)
    assert [row.label for row in read_rows(tmp_path / "out", again)] == ["|", None]
