"""Three raylets, one of which is removed in the middle of the work."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.labelled_rows import ROWS
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.training.checkpoint import read_checkpoint
from tests.e2e.serve_deployment import deployed
from tests.integration.service_load import Load
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


@pytest.fixture
def removed(three_nodes):
    """Have a worker's node, not the head, removed; gives which workers were on which node."""

    @contextmanager
    def removing(title: str, num_workers: int, wait: Callable[[], None]) -> Iterator[dict]:
        found: dict[int, list[int]] = {}

        def remove() -> None:
            while len(workers := three_nodes.raylets_with(title)) < num_workers:
                time.sleep(0.02)
            wait()
            found.update(workers)
            three_nodes.remove(next(pid for pid in found if pid != three_nodes.head_pid))

        remover = in_background(remove)
        yield found
        remover.join(timeout=60)
        assert len(found) == num_workers

    return removing


def a_checkpoint_in(run: Path) -> Callable[[], None]:
    """Waits until a run has a checkpoint."""

    def wait() -> None:
        while not runs.find_checkpoints(run):
            time.sleep(0.02)

    return wait


def last_weights(run: Path):
    return read_checkpoint(runs.find_checkpoints(run)[-1].path).weights


def test_training_on_two_raylets_survives_the_removal_of_one(removed, submit, storage):
    submit("finetune", "mine.toml", "--output", "runs/whole")

    with removed("RayTrainWorker", 2, a_checkpoint_in(storage / "runs" / "broken")) as workers:
        submit("finetune", "mine.toml", "--output", "runs/broken")
    assert [len(found) for found in workers.values()] == [1, 1]
    whole, broken = (last_weights(storage / "runs" / name) for name in ("whole", "broken"))
    for name, expected in whole.items():
        np.testing.assert_array_equal(broken[name], expected, err_msg=name)
    lines = read_metrics(storage / "runs" / "broken" / runs.METRICS)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 31))


def test_a_range_of_workers_goes_on_with_those_that_are_left(removed, submit, storage):
    same = ("--set", "training.dropout=0.0")  # dropout draws by worker
    submit("finetune", "mine.toml", *same, "--output", "runs/fixed")
    elastic = ("--set", "scaling.num_workers=[1, 3]")
    with removed("RayTrainWorker", 3, a_checkpoint_in(storage / "runs" / "elastic")) as workers:
        submit("finetune", "mine.toml", *same, *elastic, "--output", "runs/elastic")
    assert [len(found) for found in workers.values()] == [1, 1, 1]
    left, right = (last_weights(storage / "runs" / name) for name in ("fixed", "elastic"))
    for name, expected in left.items():
        np.testing.assert_allclose(right[name], expected, atol=1e-3, err_msg=name)


def test_labelling_on_all_raylets_gives_each_row_once_as_without_the_removal_of_one(
    removed, submit, storage, tiny_model_dir
):
    def wait_for_parts() -> None:
        while len(list(storage.glob(".labelled.parts-*/part-*"))) < 6:
            time.sleep(0.02)

    words = ("label", "model", "many.jsonl", "--engine", "onnxruntime", "--precision", "fp32")
    with removed("_Actor", 3, wait_for_parts):
        submit(*words, "--num-actors", "3", "--output", "labelled")
    labelled = pyarrow.parquet.read_table(storage / "labelled" / ROWS)
    rows = [json.loads(line) for line in (storage / "many.jsonl").read_text().splitlines()]
    assert labelled["id"].to_pylist() == list(range(len(rows)))
    assert labelled["text"].to_pylist() == [row["text"] for row in rows]
    teacher = Predictor.from_dir(tiny_model_dir, engine="onnxruntime", precision="fp32")
    expected = teacher.run([row["text"] for row in rows]).logits
    logits = np.stack(labelled["teacher_logits"].to_numpy())
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_prediction_on_all_raylets_gives_each_id_once_in_order_though_one_is_removed(
    removed, submit, storage
):
    words = ("predict", "model", "many.jsonl", "--num-actors", "3", "--output", "predicted.jsonl")
    # Until blocks have come from each, and more are to come.
    with removed("_Actor", 3, lambda: time.sleep(3)):
        submit(*words)
    rows = [json.loads(line) for line in (storage / "many.jsonl").read_text().splitlines()]
    given = [json.loads(line) for line in (storage / "predicted.jsonl").read_text().splitlines()]
    assert [row["id"] for row in given] == list(range(len(rows)))
    assert [row["text"] for row in given] == [row["text"] for row in rows]
    assert {row["label"] for row in given} <= {"negative", "positive"}


def test_a_service_with_replicas_on_two_raylets_answers_while_one_is_removed(
    removed, three_nodes, tmp_path, tiny_model_dir
):
    # A replica of the committed file takes 2 CPUs: a whole node.
    with deployed(three_nodes, tiny_model_dir, tmp_path, num_replicas=2) as url:
        with Load(url).running() as load:
            time.sleep(2)
            with removed("ServeReplica:text-model", 2, lambda: None) as before:
                pass
            removed_s = time.monotonic()
            deadline_s = removed_s + 90
            while len(after := three_nodes.raylets_with("ServeReplica:text-model")) < 2:
                assert time.monotonic() < deadline_s, "no second replica came back"
                time.sleep(0.2)
            time.sleep(3)
        assert [len(replicas) for replicas in before.values()] == [1, 1]
    assert set(before) != set(after)
    assert load.final == []
    assert len(load.failures) <= 5 * load.num_clients, load.outcomes
    assert load.longest_silence_s < 15, load.outcomes
    assert max(load.answered_s) > removed_s + 3
