"""Students trained on real Ray Train workers, from labels, from a teacher, and from both."""

import json
import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ernie_ray.config import DistillRecipe, load_recipe_of
from ernie_ray.errors import ConfigError, DataError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.distill import distill
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from tests.tiny_models import tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.usefixtures("local_ray"),
]
SMALL = {
    "bow": ["student.bucket_bits=12", "student.embedding_size=16"],
    "cnn": ["student.embedding_size=16", "student.num_filters=8"],
    "lstm": ["student.embedding_size=16", "student.num_units=8", "student.max_pieces=200"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows with labels, and rows for training with the logits of a teacher that is always right."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in ((1, "dev"), (2, "test")):
        lines = [json.dumps({"text": t, "label": lab}) + "\n" for t, lab in tiny_rows(60, seed)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    rows = tiny_rows(400, 7)
    is_positive = np.array([lab == "positive" for _, lab in rows])
    logits = np.where(is_positive[:, None], [-2.0, 2.0], [2.0, -2.0])
    table = pa.table(
        {
            "text": [text for text, _ in rows],
            "label": [lab if i % 4 == 0 else None for i, (_, lab) in enumerate(rows)],
            "copy": [0] * len(rows),
            "teacher_logits": logits.tolist(),
        }
    )
    pyarrow.parquet.write_table(table, folder / "soft.parquet")
    return folder


@pytest.fixture
def train(data, tmp_path):
    def run(name, recipe, *changes, num_epochs=4):
        settings = [
            "data.dev=dev.jsonl",
            "data.test=test.jsonl",
            *SMALL[recipe],
            "student.max_tokens=40",
            "training.global_batch_size=32",
            "training.learning_rate=1e-2",
            "training.dropout=0.1",
            "scaling.cpus_per_worker=1",
            f"training.num_epochs={num_epochs}",
            *changes,
        ]
        loaded = load_recipe_of(DistillRecipe, recipe, settings, folder_name="distill")
        storage = Storage(str(data))
        return distill(loaded, str(tmp_path / name), storage=storage, show_progress=False)

    return run


SOFT = ["data.train=soft.parquet", 'task.labels=["negative", "positive"]']


# 400 rows, of which a bag has the 100 with a label four times.
@pytest.mark.parametrize(("recipe", "num_rows"), [("bow", 700), ("cnn", 400), ("lstm", 400)])
def test_each_student_learns_from_a_teacher_and_runs_without_any_framework(train, recipe, num_rows):
    changes = (
        "distillation.hard_weight=0.0",
        "distillation.hard_epochs=1",
        "training.patience_evaluations=0",
    )
    result = train(recipe, recipe, *SOFT, *changes, num_epochs=8)
    assert result.metrics["test"]["accuracy"] > 0.85
    last = [line for line in read_metrics(result.run / runs.METRICS) if "loss" in line][-1]
    # Batches of 32, in the last epoch of the rows with a label alone.
    assert last["num_steps"] == 7 * math.ceil(num_rows / 32) + 4
    predictor = Predictor.from_dir(result.model)
    assert (predictor.engine, predictor.precision) == ("numpy", "fp32")
    texts, labels = zip(*tiny_rows(60, 2), strict=True)  # the test rows
    found = [prediction.result["label"] for prediction in predictor.predict(texts)]
    is_right = [one == label for one, label in zip(found, labels, strict=True)]
    assert np.mean(is_right) == pytest.approx(result.metrics["test"]["accuracy"])
    assert predictor.manifest.lineage.recipe["student"]["kind"] == recipe
    code = (
        "import sys\n"
        "from ernie_ray.inference.predictor import Predictor\n"
        f"Predictor.from_dir({str(result.model)!r}).predict(['好书'])\n"
        "heavy = {'paddle', 'ray', 'openvino', 'onnxruntime', 'onnx', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_two_workers_compute_what_one_computes(train):
    # Each worker draws its own masks, so nothing random may be left in a step.
    changes = (
        *SOFT,
        "training.dropout=0.0",
        "student.token_dropout=0.0",
        "training.log_every_steps=1",
    )
    one = train("one", "cnn", *changes, num_epochs=2)
    two = train("two", "cnn", *changes, "scaling.num_workers=2", num_epochs=2)
    losses = [
        [line["loss"] for line in read_metrics(r.run / runs.METRICS) if "loss" in line]
        for r in (one, two)
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_pairs_are_learnt_as_pairs_from_labels_alone(train, data):
    rng = np.random.default_rng(3)
    for name, size in (("pairs", 600), ("pairs_dev", 100)):
        with (data / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for _ in range(size):
                a, b = rng.choice(list("好坏快慢"), 2)
                label = "same" if a == b else "other"
                row = {"a": f"{a}书店", "b": f"房间{b}", "label": label}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    changes = [
        "data.train=pairs.jsonl",
        "data.dev=pairs_dev.jsonl",
        "data.test=pairs_dev.jsonl",
        "data.teacher_logits_column=",
        "data.text_column=a",
        "data.text_pair_column=b",
        "student.hidden_sizes=[16]",
        "student.embedding_std=0.3",
    ]
    result = train("pairs", "cnn", *changes, num_epochs=12)
    assert result.metrics["test"]["accuracy"] > 0.9
    predictor = Predictor.from_dir(result.model)
    labels = [
        p.result["label"] for p in predictor.predict([("好书店", "房间好"), ("好书店", "房间慢")])
    ]
    assert labels == ["same", "other"]


def test_logits_of_another_task_and_unnamed_classes_are_refused(train, data):
    with pytest.raises(ConfigError, match=r"task\.labels"):
        train("unnamed", "bow", "data.train=soft.parquet")
    with pytest.raises(DataError, match="2 teacher logits, but the task has 3"):
        train(
            "three", "bow", "data.train=soft.parquet", 'task.labels=["negative", "positive", "x"]'
        )
