"""From which task a student starts: that of the teacher whose logits it learns from."""

import json

import pytest

from ernie_ray.config import DistillRecipe, load_recipe_of
from ernie_ray.errors import ConfigError
from ernie_ray.jobs.labelled_rows import LabelledManifest
from ernie_ray.jobs.prepare_student import write_first_student
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import ClassificationSpec, PairSpec
from ernie_ray.models.start import read_spec

CLASSES = ClassificationSpec(labels=("negative", "positive"))
FLAGS = ClassificationSpec(labels=("cheap", "near"), multi_label=True)


def labelled(folder, task):
    """What `label` writes, with two rows."""
    folder.mkdir()
    rows = [{"id": i, "text": text, "copy": 0, "teacher_logits": [0.5] * task.num_outputs}
            for i, text in enumerate(["好", "差"])]  # fmt: skip
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    manifest = LabelledManifest(
        digest="d", teacher="t", teacher_name="t", labels=getattr(task, "labels", ()), task=task,
        inputs={}, num_rows_per_file={}, num_rows=2, num_skipped=0, num_unsure=0, num_surplus=0,
        num_rows_per_class={}, engine="e", sha256="s",
    )  # fmt: skip
    (folder / "labelled.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def task_of_start(folder, *changes):
    settings = [
        f"data.train={folder}", "training.patience_evaluations=0", "student.bucket_bits=8",
        *changes,
    ]  # fmt: skip
    recipe = load_recipe_of(DistillRecipe, "bow", settings, folder_name="distill")
    start = folder.parent / "start"
    start.mkdir()
    write_first_student(recipe, start, Storage())
    return read_spec(start).task


@pytest.mark.parametrize(("task", "change"), [(CLASSES, "false"), (FLAGS, "true")])
def test_a_students_task_is_its_teachers(task, change, tmp_path):
    folder = labelled(tmp_path / "labelled", task)
    assert task_of_start(folder, f"task.multi_label={change}") == task


@pytest.mark.parametrize(
    ("task", "change", "problem"),
    [
        (
            CLASSES,
            "task.labels=['positive', 'negative']",
            "logits are of negative, positive, in this",
        ),
        (CLASSES, "task.labels=['cat', 'dog']", "leave task.labels out"),
        (CLASSES, "task.multi_label=true", "set task.multi_label=false"),
        (FLAGS, "task.multi_label=false", "set task.multi_label=true"),
        (PairSpec(), "task.multi_label=false", "the teacher's task is pair"),
    ],
)
def test_what_contradicts_the_teacher_is_refused(task, change, problem, tmp_path):
    folder = labelled(tmp_path / "labelled", task)
    with pytest.raises(ConfigError, match=problem):
        task_of_start(folder, change)
