"""Three raylets, one of which is removed in the middle of the work."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.training.checkpoint import read_checkpoint
from tests.tiny_models import tiny_rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

RECIPE = """
[data]
train = "train.jsonl"
dev = "dev.jsonl"

[model]
pretrained = "encoders/tiny"
max_tokens = 32

[training]
num_epochs = 3
global_batch_size = 16
learning_rate = 3e-3
dropout = 0.1
eval_every_steps = 2
log_every_steps = 1

[scaling]
num_workers = 2
cpus_per_worker = 2   # a whole node, so that the workers are on different ones
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory, tiny_embedding_dir, tiny_model_dir) -> Path:
    store = tmp_path_factory.mktemp("store")
    (store / "encoders").mkdir()
    (store / "encoders" / "tiny").symlink_to(tiny_embedding_dir)
    (store / "model").symlink_to(tiny_model_dir)
    for seed, (name, size) in enumerate({"train": 160, "dev": 60, "many": 40_000}.items()):
        lines = (
            json.dumps({"text": text, "label": label}, ensure_ascii=False)
            for text, label in tiny_rows(size, seed)
        )
        (store / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return store


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uploaded")
    (folder / "mine.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def submit(three_nodes, working_dir, storage):
    def run(verb: str, *arguments: str) -> str:
        done = three_nodes.submit(
            working_dir, "python", "-m", "ernie_ray", verb, *arguments, "--storage", str(storage)
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def last_weights(run: Path):
    return read_checkpoint(runs.find_checkpoints(run)[-1].path).weights


def test_training_on_two_raylets_survives_the_removal_of_one(three_nodes, submit, storage):
    submit("finetune", "mine.toml", "--output", "runs/whole")
    seen: list[dict[int, list[int]]] = []

    def remove_a_node_with_a_worker() -> None:
        while not runs.find_checkpoints(storage / "runs" / "broken"):
            time.sleep(0.02)
        found = three_nodes.raylets_with("RayTrainWorker")
        seen.append(found)
        three_nodes.remove(next(pid for pid in found if pid != three_nodes.head_pid))

    remover = in_background(remove_a_node_with_a_worker)
    submit("finetune", "mine.toml", "--output", "runs/broken")
    remover.join()
    assert [len(workers) for workers in seen[0].values()] == [1, 1]
    whole, broken = (last_weights(storage / "runs" / name) for name in ("whole", "broken"))
    for name, expected in whole.items():
        np.testing.assert_array_equal(broken[name], expected, err_msg=name)
    lines = read_metrics(storage / "runs" / "broken" / runs.METRICS)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 31))


def test_prediction_on_all_raylets_gives_each_id_once_in_order_though_one_is_removed(
    three_nodes, submit, storage
):
    seen: list[dict[int, list[int]]] = []

    def remove_a_node_with_an_actor() -> None:
        while len(found := three_nodes.raylets_with("_Actor")) < 3:
            time.sleep(0.02)
        time.sleep(3)  # until blocks have come from each, and more are to come
        seen.append(found)
        three_nodes.remove(next(pid for pid in found if pid != three_nodes.head_pid))

    remover = in_background(remove_a_node_with_an_actor)
    submit("predict", "model", "many.jsonl", "--num-actors", "3", "--output", "labelled.jsonl")
    remover.join(timeout=1)
    assert seen
    rows = [json.loads(line) for line in (storage / "many.jsonl").read_text().splitlines()]
    given = [json.loads(line) for line in (storage / "labelled.jsonl").read_text().splitlines()]
    assert [row["id"] for row in given] == list(range(len(rows)))
    assert [row["text"] for row in given] == [row["text"] for row in rows]
    assert {row["label"] for row in given} <= {"negative", "positive"}
