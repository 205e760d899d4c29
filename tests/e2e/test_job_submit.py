"""The same commands as jobs on a running cluster: inputs and artefacts live in storage."""

import json

import pytest

from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from tests.tiny_models import tiny_rows

pytestmark = pytest.mark.timeout(300)

RECIPE = """
[data]
train = "reviews/train.jsonl"
dev = "reviews/dev.jsonl"

[model]
pretrained = "encoders/tiny"
max_tokens = 32

[training]
max_steps = 6
learning_rate = 3e-3
"""


@pytest.fixture
def storage(tmp_path, tiny_embedding_dir):
    """A folder that every node of the cluster reaches, with rows and an encoder."""
    store = tmp_path / "store"
    (store / "reviews").mkdir(parents=True)
    (store / "encoders").mkdir()
    (store / "encoders" / "tiny").symlink_to(tiny_embedding_dir)
    for seed, name in enumerate(("train", "dev")):
        lines = (
            json.dumps({"text": text, "label": label}, ensure_ascii=False)
            for text, label in tiny_rows(48, seed)
        )
        (store / "reviews" / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return store


@pytest.fixture
def working_dir(tmp_path):
    """What a user uploads with a job."""
    folder = tmp_path / "uploaded"
    folder.mkdir()
    (folder / "mine.toml").write_text(RECIPE)
    return folder


def test_a_submitted_finetune_leaves_its_artefacts_in_storage(cluster, working_dir, storage):
    done = cluster.submit(
        working_dir, "python", "-m", "ernie_ray", "finetune", "mine.toml",
        "--output", "runs/first", "--storage", str(storage),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = storage / "runs" / "first"
    assert f"model: {run / runs.MODEL}" in done.stdout
    assert json.loads((run / runs.RESULT).read_text())["metrics"]["dev"]
    answer = Predictor.from_dir(run / runs.MODEL).predict(["好书"])[0].result
    assert answer["label"] in ("negative", "positive")
    assert not list(working_dir.glob("runs"))


def test_a_relative_path_without_storage_fails_with_what_to_change(cluster, working_dir):
    done = cluster.submit(working_dir, "python", "-m", "ernie_ray", "finetune", "mine.toml")
    assert done.returncode != 0
    printed = done.stdout + done.stderr
    assert "--storage" in printed
    assert "ConfigError" in printed
    assert "Traceback" not in printed.split("ConfigError")[0]
