import shutil
import subprocess
import sys

import numpy as np
import pytest

from ernie_ray.errors import CheckpointError
from ernie_ray.jobs import runs
from ernie_ray.training.checkpoint import (
    Checkpoint,
    Position,
    read_checkpoint,
    read_checkpoint_weights,
    write_checkpoint,
)
from ernie_ray.training.loss_scale import LossScale


@pytest.fixture
def folder(tmp_path):
    write_checkpoint(
        tmp_path,
        Checkpoint(
            position=Position(epoch=1, step_in_epoch=2, step=12),
            weights={"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
            optimizer={"w:moment1_0": np.ones((2, 3), np.float32)},
            metrics={"accuracy": 0.5},
        ),
    )
    return tmp_path


def test_what_was_written_is_read_back(folder):
    found = read_checkpoint(folder)
    assert found.position == Position(epoch=1, step_in_epoch=2, step=12)
    assert found.metrics == {"accuracy": 0.5}
    np.testing.assert_array_equal(found.weights["w"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found.optimizer["w:moment1_0"], np.ones((2, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_metric_that_is_no_number_is_read_back(tmp_path, value):
    write_checkpoint(tmp_path, Checkpoint(Position(step=3), {}, {}, {"loss": value}))
    np.testing.assert_equal(read_checkpoint(tmp_path).metrics, {"loss": value})


def test_a_checkpoint_without_its_last_file_is_not_whole(folder):
    (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_checkpoint(folder)


def test_the_weights_are_read_alone_if_they_are_what_was_written(folder):
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"othr")
    np.testing.assert_array_equal(read_checkpoint_weights(folder)["w"], [[0, 1, 2], [3, 4, 5]])
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"othr")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        read_checkpoint_weights(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_file_cut_short_is_refused_by_name(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        read_checkpoint(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe{}"])
def test_a_state_that_a_disk_spoiled_is_refused_by_name(folder, text):
    (folder / "state.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"state\.json: not a checkpoint's state"):
        read_checkpoint(folder)


def test_a_missing_file_is_refused_by_name(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing weights\.safetensors"):
        read_checkpoint(folder)


def test_a_write_without_room_is_one_clear_error_and_leaves_no_whole_checkpoint(tmp_path):
    # In a child, since the limit could not be lifted here again for the files of other tests.
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from ernie_ray.errors import CheckpointError
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint
arrays = {"w": np.zeros(1000, np.float32)}
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    write_checkpoint(
        Path(sys.argv[1]),
        Checkpoint(Position(step=12), arrays, {"w:m": np.zeros(2000, np.float32)}, {}),
    )
except CheckpointError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "checkpoint of step 12 could not be written" in done.stdout
    assert "run the same command again" in done.stdout
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_checkpoint(tmp_path)


def test_the_loss_scale_is_read_back(tmp_path):
    scale = LossScale(factor=512.0, num_good_steps=7)
    write_checkpoint(tmp_path, Checkpoint(Position(step=3), {}, {}, {}, loss_scale=scale))
    assert read_checkpoint(tmp_path).loss_scale == scale


@pytest.mark.parametrize("half", ["weights.safetensors", "state.json"])
def test_a_half_copied_checkpoint_is_not_among_those_of_a_run(folder, tmp_path_factory, half):
    run = tmp_path_factory.mktemp("run")
    for name in ("checkpoint_1", "checkpoint_2"):
        shutil.copytree(folder, run / runs.TRAIN / name)
    (run / runs.TRAIN / "checkpoint_manager_snapshot.json").write_text("{}")  # Ray Train's own
    path = run / runs.TRAIN / "checkpoint_2" / half
    path.write_bytes(path.read_bytes()[:-4])
    assert [found.path.name for found in runs.find_checkpoints(run)] == ["checkpoint_1"]
