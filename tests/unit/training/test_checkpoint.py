import numpy as np
import pytest

from ernie_ray.errors import CheckpointError
from ernie_ray.training.checkpoint import Checkpoint, Position, read_checkpoint, write_checkpoint


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


def test_a_checkpoint_without_its_last_file_is_not_whole(folder):
    (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_file_cut_short_is_refused_by_name(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        read_checkpoint(folder)


def test_a_missing_file_is_refused_by_name(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing weights\.safetensors"):
        read_checkpoint(folder)
