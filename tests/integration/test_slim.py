"""The whole chain on a tiny teacher: every stage once, and none twice."""

import json

import numpy as np
import pyarrow.parquet
import pytest

from ernie_ray.config import SlimRecipe, load_recipe_of
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.comparison import BASE, CONSTANT, DISTILLED, PLAIN, TEACHER
from ernie_ray.jobs.slim import slim
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import ClassificationSpec
from tests.chain_rows import chain_settings, stamps, write_chain_rows
from tests.tiny_models import export_tiny_classifier, tiny_rows
from tests.tiny_tasks import write_jsonl

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_chain_rows(tmp_path_factory.mktemp("data"), unlabelled_column="review")


def recipe_for(teacher, *changes):
    settings = [
        *chain_settings(teacher),
        "augment.num_copies=2",
        "label.num_actors=1",
        "student.bucket_bits=10",
        "student.embedding_size=8",
        "training.num_epochs=2",
        "report.num_timed_texts=20",
        *changes,
    ]
    return load_recipe_of(SlimRecipe, "bow", settings, folder_name="slim")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run folder, whose plain student both tests share."""
    return tmp_path_factory.mktemp("runs") / "slim"


def test_the_chain_ends_in_a_table_and_repeats_only_what_a_change_concerns(
    tiny_model_dir, data, run
):
    storage = Storage(str(data))
    first = slim(recipe_for(tiny_model_dir), str(run), storage=storage, show_progress=False)
    names = [row.name for row in first.report.rows]
    assert names == [CONSTANT, TEACHER, PLAIN, DISTILLED]
    assert all(row.p50_ms > 0 and row.test is not None for row in first.report.rows[1:])
    assert first.table == (run / "table.txt").read_text(encoding="utf-8").rstrip("\n")
    assert (run / "quality.svg").read_bytes().startswith(b"<?xml")
    assert (run / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert Predictor.from_dir(first.student).engine == "numpy"

    before = stamps(run)
    measured = {path: path.stat().st_mtime_ns for path in run.glob("measured-*.json")}
    assert len(measured) == 3
    again = slim(recipe_for(tiny_model_dir), str(run), storage=storage, show_progress=False)
    assert stamps(run) == before
    assert {path: path.stat().st_mtime_ns for path in run.glob("measured-*.json")} == measured
    assert [row.test for row in again.report.rows] == [row.test for row in first.report.rows]

    # Which rows measure the models decides no stage.
    changed = recipe_for(tiny_model_dir, "distillation.temperature=3.0", "data.test=dev.jsonl")
    slim(changed, str(run), storage=storage, show_progress=False)
    new = {path.parts[0].partition("-")[0] for path in stamps(run).keys() - before.keys()}
    assert new == {"distilled"}
    assert {k: v for k, v in stamps(run).items() if k in before} == before


def test_without_copies_or_unlabelled_rows_the_training_rows_alone_are_labelled(
    tiny_model_dir, data, run
):
    changes = ["augment.num_copies=0", "data.unlabelled=[]"]
    # Beside it, the other row that the table may have.
    changes += ["report.base_encoder=true", "report.num_timed_base_texts=1"]
    recipe = recipe_for(tiny_model_dir, *changes)
    augmented = set(run.glob("augmented-*"))
    result = slim(recipe, str(run), storage=Storage(str(data)), show_progress=False)
    manifest = json.loads((result.stages["labelled"] / "labelled.json").read_text())
    assert manifest["num_rows"] == 120
    assert set(run.glob("augmented-*")) == augmented
    assert np.isfinite(result.report.row(DISTILLED).test)
    base = result.report.row(BASE)
    assert base.p50_ms > 0
    assert base.test is None
    assert "x base" in result.table


def test_pairs_with_any_number_of_labels_go_through_the_chain(tmp_path):
    task = ClassificationSpec(labels=("negative", "positive"), multi_label=True)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=task)
    for name, size in {"train": 60, "dev": 20, "test": 20, "more": 30}.items():
        texts = [text for text, _ in tiny_rows(2 * size, seed=size)]
        rows = [
            {"review": texts[2 * i], "answer": texts[2 * i + 1], "kind": list(task.labels)[: i % 3]}
            for i in range(size)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    recipe = recipe_for(teacher, "data.text_pair_column=answer", "augment.num_copies=1")
    result = slim(recipe, str(tmp_path / "slim"), storage=Storage(str(tmp_path)))
    labelled = pyarrow.parquet.read_table(result.stages["labelled"] / "rows.parquet")
    assert {"review", "answer", "kind", "copy", "teacher_logits"} < set(labelled.column_names)
    assert result.report.metric == "micro_f1"
    assert np.isfinite(result.report.row(DISTILLED).test)
    (answer,) = Predictor.from_dir(result.student).predict([("书店很好", "房间很差")])
    assert set(answer.result["scores"]) == set(task.labels)
