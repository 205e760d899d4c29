"""Fine-tuning on real Ray Train workers over gloo, with a tiny network."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import ray

from ernie_ray.config import load_recipe
from ernie_ray.errors import CheckpointError, ConfigError, DataError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.checkpoint_snapshot import SNAPSHOT
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.training.checkpoint import read_checkpoint
from tests.tiny_models import tiny_rows

pytestmark = pytest.mark.usefixtures("local_ray")

WORLD_SIZE_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, (name, size) in enumerate({"train": 160, "dev": 60, "test": 60}.items()):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for text, label in tiny_rows(size, seed):
                stream.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture(scope="module")
def settings(tiny_embedding_dir) -> list[str]:
    return [
        "data.train=train.jsonl",
        "data.dev=dev.jsonl",
        f"model.pretrained={tiny_embedding_dir}",
        "model.max_tokens=32",
        "model.trim_vocabulary=false",
        "training.global_batch_size=16",
        "training.learning_rate=3e-3",
        "training.dropout=0.0",
        "scaling.cpus_per_worker=1",
        "training.num_epochs=2",
        "training.log_every_steps=1",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def train(data, settings, folder):
    """Run the tiny recipe with changes; gives the result."""

    def run(name: str, *changes: str):
        recipe = load_recipe("classify", [*settings, *changes])
        storage = Storage(str(data))
        return finetune(recipe, str(folder / name), storage=storage, show_progress=False)

    return run


# 30 steps with 15 checkpoints.
OFTEN = (
    "data.test=test.jsonl",
    "scaling.num_workers=2",
    "training.eval_every_steps=2",
    "training.num_epochs=3",
    "training.dropout=0.1",
)


@pytest.fixture(scope="module")
def whole(local_ray, train):
    """The run that most tests look at, and that interrupted ones must end like."""
    return train("whole-run", *OFTEN)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / runs.METRICS) if "loss" in line]


def last_weights(run: Path):
    return read_checkpoint(runs.find_checkpoints(run)[-1].path).weights


def assert_equal_weights(left: Path, right: Path) -> None:
    found = last_weights(right)
    for name, expected in last_weights(left).items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_two_workers_compute_what_one_computes(train):
    one = train("one", "scaling.num_workers=1")
    two = train("two", "scaling.num_workers=2", "training.per_worker_batch_size=4")
    assert len(losses(one.run)) == 20
    np.testing.assert_allclose(losses(one.run), losses(two.run), atol=1e-4)
    assert np.mean(losses(one.run)[-5:]) < np.mean(losses(one.run)[:5])
    # Sums of another order differ in their last bits, which Adam makes larger where it divides.
    found = last_weights(two.run)
    for name, expected in last_weights(one.run).items():
        np.testing.assert_allclose(found[name], expected, atol=WORLD_SIZE_TOLERANCE, err_msg=name)


def test_the_same_run_twice_gives_the_same_weights_whether_workers_are_a_number_or_a_range(
    train, whole
):
    assert_equal_weights(whole.run, train("range", *OFTEN, "scaling.num_workers=[1, 2]").run)


def test_the_best_checkpoints_are_kept_and_the_last_one(whole):
    lines = [line for line in read_metrics(whole.run / runs.METRICS) if "accuracy" in line]
    assert len(lines) == 15
    best = sorted(lines, key=lambda line: (line["accuracy"], line["step"]))[-2:]
    kept = {checkpoint.step for checkpoint in runs.find_checkpoints(whole.run)}
    assert kept == {30} | {line["step"] for line in best}


def test_a_run_leaves_a_model_that_serves_and_everything_to_read(whole):
    predictor = Predictor.from_dir(whole.model)
    assert predictor.predict(["好书"])[0].result["label"] in ("negative", "positive")
    manifest = predictor.manifest
    assert manifest.lineage.step > 0
    assert manifest.lineage.recipe["training"]["learning_rate"] == 3e-3
    assert manifest.metrics["dev"] == whole.metrics["dev"]
    assert set(whole.metrics["test"]) == {"accuracy", "macro_f1", "micro_f1", "positive_f1"}
    assert json.loads((whole.run / runs.RESULT).read_text())["metrics"] == whole.metrics
    evaluations = [line for line in read_metrics(whole.run / runs.METRICS) if "accuracy" in line]
    assert len(evaluations) == 15
    best = max(line["accuracy"] for line in evaluations)
    assert whole.metrics["dev"]["accuracy"] == pytest.approx(best)


def test_the_same_command_again_does_nothing_twice(train, whole):
    weights = (whole.model / "weights.safetensors").stat().st_mtime_ns
    assert train("whole-run", *OFTEN).metrics == whole.metrics
    assert (whole.model / "weights.safetensors").stat().st_mtime_ns == weights
    # Nor does it need what a user removed for the room.
    (whole.run / runs.TRAIN).rename(whole.run / "elsewhere")
    try:
        assert train("whole-run", *OFTEN).metrics == whole.metrics
    finally:
        (whole.run / "elsewhere").rename(whole.run / runs.TRAIN)


def test_another_recipe_in_the_same_run_folder_is_refused_by_the_keys_that_differ(train, whole):
    with pytest.raises(ConfigError, match=r"training\.max_steps, training\.seed"):
        train(whole.run.name, *OFTEN, "training.max_steps=3", "training.seed=1")


def test_other_rows_behind_the_same_name_are_refused_after_training(train, whole, folder):
    shutil.copytree(whole.run, folder / "other-rows")
    noted = folder / "other-rows" / runs.ROWS
    rows = json.loads(noted.read_text())
    noted.write_text(json.dumps(rows | {"train": ["jsonl of other rows"]}))
    with pytest.raises(ConfigError, match=r"the files of data\.train have changed"):
        train("other-rows", *OFTEN)


def test_half_a_list_of_checkpoints_costs_no_more_than_the_steps_since_the_last_one(
    train, whole, folder
):
    run = folder / "half-a-list"
    shutil.copytree(whole.run, run, ignore=shutil.ignore_patterns(runs.MODEL))
    shutil.rmtree(runs.find_checkpoints(run)[-1].path)
    reached = runs.find_checkpoints(run)[-1].step
    written = (run / SNAPSHOT).read_bytes()
    (run / SNAPSHOT).write_bytes(written[: len(written) // 2])
    train(run.name, *OFTEN)
    assert_equal_weights(whole.run, run)
    lines, expected = (read_metrics(folder / runs.METRICS) for folder in (run, whole.run))
    assert [line for line in lines if line["step"] <= reached] == [
        line for line in expected if line["step"] <= reached
    ]  # rows per second, too: none of these steps was done again
    assert lines[-1]["step"] == 30


def training_pids() -> Iterator[int]:
    """The training workers of this machine whose raylet is a child of this process."""
    raylets = set(children_of(os.getpid(), b"raylet"))
    for raylet in raylets:
        yield from children_of(raylet, b"RayTrainWorker")


def children_of(parent: int, words: bytes) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            found = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if int(found) == parent and words in (entry / "cmdline").read_bytes():
                yield int(entry.name)


def wait_for_a_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + 120
    while not runs.find_checkpoints(run):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_a_worker_after_a_checkpoint(run: Path, killed: list[int]) -> None:
    wait_for_a_checkpoint(run)
    killed.append(next(training_pids()))
    os.kill(killed[0], signal.SIGKILL)


def test_killing_a_worker_costs_no_more_than_the_steps_since_the_last_checkpoint(
    train, whole, folder
):
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_a_worker_after_a_checkpoint, args=(folder / "killed", killed), daemon=True
    )
    killer.start()
    broken = train("killed", *OFTEN)
    killer.join()
    assert killed
    assert_equal_weights(whole.run, broken.run)
    steps = [line["step"] for line in read_metrics(broken.run / runs.METRICS) if "loss" in line]
    assert steps == list(range(1, 31))


@contextmanager
def no_room_for(num_bytes: int) -> Iterator[None]:
    """Every training worker that starts meanwhile can write no file larger than this."""
    done = threading.Event()

    def limit() -> None:
        while not done.wait(0.02):
            for pid in training_pids():
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    limiter = threading.Thread(target=limit, daemon=True)
    limiter.start()
    try:
        yield
    finally:
        done.set()
        limiter.join()


@pytest.mark.soak
def test_the_same_command_goes_on_after_its_driver_was_killed_and_after_a_full_disk(
    train, whole, data, settings, folder
):
    run = folder / "driver-killed"
    options = [word for setting in (*settings, *OFTEN) for word in ("--set", setting)]
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [
            *(sys.executable, "-m", "ernie_ray", "finetune", "classify", *options),
            *("--storage", str(data), "--output", str(run), "--address", address),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_a_checkpoint(run)
    driver.kill()
    driver.wait()
    assert not (run / runs.MODEL).exists()
    # The weights fit, the optimizer's state does not.
    with (
        no_room_for(120_000),
        pytest.raises(CheckpointError, match=r"could not be written .*run the same command again"),
    ):
        train("driver-killed", *OFTEN, "scaling.max_failures=0")
    assert not (run / runs.MODEL).exists()
    assert_equal_weights(whole.run, train("driver-killed", *OFTEN).run)


def test_a_bad_row_is_one_clear_error_that_names_file_and_line(train, data):
    (data / "bad.jsonl").write_text('{"text": "好", "label": "positive"}\n{"text": ""}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        train("bad", "data.train=bad.jsonl")


def test_too_many_tokens_for_the_positions_are_refused_before_training(train):
    with pytest.raises(ConfigError, match="64 positions"):
        train("long", "model.max_tokens=100")
