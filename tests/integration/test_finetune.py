"""Fine-tuning on real Ray Train workers over gloo, with a tiny network."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ernie_ray.config import load_recipe
from ernie_ray.errors import ConfigError, DataError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.training.checkpoint import read_checkpoint
from tests.tiny_models import tiny_rows

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, (name, size) in enumerate({"train": 160, "dev": 60, "test": 60}.items()):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for text, label in tiny_rows(size, seed):
                stream.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture
def train(data, tiny_embedding_dir, tmp_path):
    """Run the tiny recipe with changes; gives the result."""

    def run(name: str, *changes: str):
        settings = [
            "data.train=train.jsonl",
            "data.dev=dev.jsonl",
            f"model.pretrained={tiny_embedding_dir}",
            "model.max_tokens=32",
            "model.trim_vocabulary=false",
            "training.global_batch_size=16",
            "training.learning_rate=3e-3",
            "training.dropout=0.0",
            "training.num_epochs=2",
            "training.log_every_steps=1",
            *changes,
        ]
        recipe = load_recipe("classify", settings)
        storage = Storage(str(data))
        return finetune(recipe, str(tmp_path / name), storage=storage, show_progress=False)

    return run


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / runs.METRICS) if "loss" in line]


def last_weights(run: Path):
    return read_checkpoint(runs.find_checkpoints(run)[-1].path).weights


def test_two_workers_compute_what_one_computes(train):
    one = train("one", "scaling.num_workers=1")
    two = train("two", "scaling.num_workers=2", "training.per_worker_batch_size=4")
    assert len(losses(one.run)) == 20
    np.testing.assert_allclose(losses(one.run), losses(two.run), atol=1e-4)
    assert np.mean(losses(one.run)[-5:]) < np.mean(losses(one.run)[:5])


def test_the_same_run_twice_gives_the_same_weights(train):
    changes = ("scaling.num_workers=2", "training.max_steps=6", "training.dropout=0.1")
    first, second = (last_weights(train(name, *changes).run) for name in ("first", "second"))
    for name, expected in first.items():
        np.testing.assert_array_equal(second[name], expected, err_msg=name)


def test_a_run_leaves_a_model_that_serves_and_everything_to_read(train):
    result = train("whole", "data.test=test.jsonl", "training.dropout=0.1")
    predictor = Predictor.from_dir(result.model)
    assert predictor.predict(["好书"])[0].result["label"] in ("negative", "positive")
    manifest = predictor.manifest
    assert manifest.lineage.step > 0
    assert manifest.lineage.recipe["training"]["learning_rate"] == 3e-3
    assert manifest.metrics["dev"] == result.metrics["dev"]
    assert set(result.metrics["test"]) == {"accuracy", "macro_f1", "micro_f1", "positive_f1"}
    assert json.loads((result.run / runs.RESULT).read_text())["metrics"] == result.metrics
    evaluations = [line for line in read_metrics(result.run / runs.METRICS) if "accuracy" in line]
    assert len(evaluations) == 2
    best = max(line["accuracy"] for line in evaluations)
    assert result.metrics["dev"]["accuracy"] == pytest.approx(best)


def test_the_same_command_again_does_nothing_twice(train):
    first = train("twice", "training.max_steps=4")
    weights = (first.model / "weights.safetensors").stat().st_mtime_ns
    again = train("twice", "training.max_steps=4")
    assert again.metrics == first.metrics
    assert (first.model / "weights.safetensors").stat().st_mtime_ns == weights


def test_another_recipe_in_the_same_run_folder_is_refused_by_the_keys_that_differ(train):
    train("claimed", "training.max_steps=2")
    with pytest.raises(ConfigError, match=r"training\.max_steps, training\.seed"):
        train("claimed", "training.max_steps=3", "training.seed=1")


def kill_a_worker_after(checkpoints: int, run: Path, killed: list[int]) -> None:
    """Wait until a run has some checkpoints, then end one of its workers by its pid."""
    while len(runs.find_checkpoints(run)) < checkpoints:
        time.sleep(0.05)
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"RayTrainWorker" in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                killed.append(int(entry.name))
                return
        except OSError:
            continue


def test_killing_a_worker_costs_no_more_than_the_steps_since_the_last_checkpoint(train, tmp_path):
    changes = ("scaling.num_workers=2", "training.eval_every_steps=2", "training.num_epochs=3")
    whole = train("whole-run", *changes)
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_a_worker_after, args=(1, tmp_path / "killed", killed), daemon=True
    )
    killer.start()
    broken = train("killed", *changes)
    killer.join()
    assert killed
    for name, expected in last_weights(whole.run).items():
        np.testing.assert_array_equal(last_weights(broken.run)[name], expected, err_msg=name)
    steps = [line["step"] for line in read_metrics(broken.run / runs.METRICS) if "loss" in line]
    assert steps == list(range(1, 31))


def test_a_bad_row_is_one_clear_error_that_names_file_and_line(train, data):
    (data / "bad.jsonl").write_text('{"text": "好", "label": "positive"}\n{"text": ""}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        train("bad", "data.train=bad.jsonl")


def test_too_many_tokens_for_the_positions_are_refused_before_training(train):
    with pytest.raises(ConfigError, match="64 positions"):
        train("long", "model.max_tokens=100")
