import math

import pytest

from ernie_ray.jobs import runs
from ernie_ray.jobs.storage import Storage
from ernie_ray.tasks.metric_choice import MetricChoice
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint
from tests.remote_files import upload_interrupted_after


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        (MetricChoice("accuracy"), 20),
        (MetricChoice("mean_squared_error", "min"), 40),
        (MetricChoice("unmeasured"), 40),
    ],
    ids=str,
)
def test_the_best_checkpoint_is_by_the_chosen_metric_and_never_one_that_is_no_number(
    tmp_path, metric, best
):
    measured = {10: (math.nan, 4.0), 20: (0.8, math.nan), 30: (0.7, 3.0), 40: (0.8 - 1e-9, 0.5)}
    for step, (accuracy, error) in measured.items():
        folder = tmp_path / runs.TRAIN / f"checkpoint_{step}"
        folder.mkdir(parents=True)
        metrics = {"accuracy": accuracy, "mean_squared_error": error}
        write_checkpoint(folder, Checkpoint(Position(step=step), {}, {}, metrics))
    assert runs.best_checkpoint(tmp_path, metric).step == best


def test_a_run_has_a_model_once_all_of_it_was_uploaded(tmp_path, monkeypatch):
    storage = Storage(f"file://{tmp_path}/bucket")

    def export():
        (tmp_path / "model").mkdir(exist_ok=True)
        for name in ("manifest.json", "model.onnx", "model.safetensors"):
            (tmp_path / "model" / name).touch()
        storage.publish(tmp_path / "model", f"run/{runs.MODEL}", last="manifest.json")

    for num_files in range(3):
        with upload_interrupted_after(num_files, monkeypatch):
            export()
        assert not runs.has_model("run", storage)
    export()
    assert runs.has_model("run", storage)
