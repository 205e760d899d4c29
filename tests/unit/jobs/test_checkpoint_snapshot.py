import json
import shutil

import numpy as np
import pytest
from ray.train import CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.context import StorageContext

from ernie_ray.jobs import runs
from ernie_ray.jobs.checkpoint_snapshot import SCORE, SNAPSHOT, mend_snapshot
from ernie_ray.jobs.storage import Storage
from ernie_ray.tasks.metric_choice import MetricChoice
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint

# Ray Train reads its list by the old names of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

ACCURACY = MetricChoice("accuracy")
VALUES = {10: 0.5, 20: 0.9, 30: 0.7}


@pytest.fixture
def run(tmp_path):
    """A run folder with three checkpoints and no list of them."""
    for step, value in VALUES.items():
        folder = tmp_path / runs.TRAIN / f"checkpoint_{step}"
        folder.mkdir(parents=True)
        arrays = {"w": np.ones(3, np.float32)}
        write_checkpoint(folder, Checkpoint(Position(step=step), arrays, {}, {"accuracy": value}))
    return tmp_path


def as_ray_train_reads(run, metric=ACCURACY):
    config = CheckpointConfig(
        num_to_keep=2, checkpoint_score_attribute=None if metric is None else SCORE
    )
    manager = CheckpointManager(config, StorageContext(str(run), runs.TRAIN))
    listed = [step_of(result) for result in manager._checkpoint_results]
    latest = manager.latest_checkpoint_result
    return listed, None if latest is None else step_of(latest)


def step_of(result):
    return int(result.checkpoint.path.rpartition("_")[2])


def mend(run, metric=ACCURACY):
    mend_snapshot(str(run), metric, Storage())


def snapshot(run):
    return run / SNAPSHOT


@pytest.mark.parametrize("kept", [0, 1, 40, -1], ids=["empty", "one", "half", "all-but-one"])
def test_a_list_that_was_cut_off_is_made_anew_from_the_checkpoints(run, kept):
    mend(run)
    whole = snapshot(run).read_bytes()
    snapshot(run).write_bytes(whole[:kept])
    mend(run)
    assert snapshot(run).read_bytes() == whole
    assert as_ray_train_reads(run) == ([10, 30, 20], 30)  # the best is the last


def test_a_list_that_was_never_written_is_made(run):
    mend(run)
    assert as_ray_train_reads(run) == ([10, 30, 20], 30)
    snapshot(run).unlink()
    mend(run, None)
    assert as_ray_train_reads(run, None) == ([10, 20, 30], 30)


def test_a_list_that_can_be_used_stays(run):
    mend(run)
    text = snapshot(run).read_text(encoding="utf-8")
    known = text.replace('"current_report_index":3', '"current_report_index":9')
    assert known != text
    snapshot(run).write_text(known, encoding="utf-8")
    mend(run)
    assert snapshot(run).read_text(encoding="utf-8") == known


def test_a_list_of_a_checkpoint_that_is_gone_or_without_a_score_is_made_anew(run):
    mend(run)
    shutil.rmtree(run / runs.TRAIN / "checkpoint_20")
    mend(run)
    assert as_ray_train_reads(run) == ([10, 30], 30)
    found = json.loads(snapshot(run).read_text(encoding="utf-8"))
    for result in found["checkpoint_results"]:
        result["metrics"] = {"accuracy": None}
    snapshot(run).write_text(json.dumps(found), encoding="utf-8")
    mend(run)
    assert as_ray_train_reads(run) == ([10, 30], 30)


def test_checkpoints_that_are_not_whole_are_not_listed_and_without_any_training_begins_anew(run):
    (run / runs.TRAIN / "checkpoint_30" / "state.json").unlink()
    mend(run)
    assert as_ray_train_reads(run) == ([10, 20], 20)
    snapshot(run).write_text("{", encoding="utf-8")
    for step in (10, 20):
        (run / runs.TRAIN / f"checkpoint_{step}" / "state.json").unlink()
    mend(run)
    assert as_ray_train_reads(run) == ([], None)


def test_nothing_is_made_in_a_folder_that_was_not_trained_in(tmp_path):
    mend(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_a_remote_run_is_mended_in_its_place(run, tmp_path_factory):
    snapshot(run).write_text("{", encoding="utf-8")
    storage = Storage(download_dir=tmp_path_factory.mktemp("downloads"))
    mend_snapshot(f"file://{run}", ACCURACY, storage)
    assert as_ray_train_reads(run) == ([10, 30, 20], 30)
