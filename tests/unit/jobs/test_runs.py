import math

import pytest

from ernie_ray.errors import ConfigError
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


def test_the_evaluations_of_a_run_are_those_that_its_latest_checkpoint_knows(tmp_path):
    assert runs.known_evaluations(str(tmp_path), Storage()) == []
    lines = ({"step": 10, "accuracy": 0.5}, {"step": 20, "accuracy": math.inf})
    for count in (1, 2):
        folder = tmp_path / runs.TRAIN / f"checkpoint_{count}"
        folder.mkdir(parents=True)
        at = Position(step=10 * count)
        write_checkpoint(folder, Checkpoint(at, {}, {}, {}, evaluations=lines[:count]))
    for name, text in {"checkpoint_3": "{", "manager.json": "[]"}.items():
        (tmp_path / runs.TRAIN / name).mkdir()
        (tmp_path / runs.TRAIN / name / "state.json").write_text(text)
    assert runs.known_evaluations(str(tmp_path), Storage()) == list(lines)


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


@pytest.fixture
def begun(tmp_path):
    """The storage of a run that was prepared by one recipe."""
    storage = Storage(str(tmp_path))
    runs.claim_run({"data": {"bad_rows": "error"}}, "run", storage)
    for name in (runs.START, runs.FEATURES):
        (tmp_path / "run" / name).mkdir()
    return storage


def test_before_any_training_another_recipe_begins_the_run_anew(begun, tmp_path):
    runs.claim_run({"data": {"bad_rows": "error"}}, "run", begun)
    assert begun.names_in("run") == [runs.FEATURES, runs.RECIPE, runs.START]
    mended = {"data": {"bad_rows": "skip"}}
    runs.claim_run(mended, "run", begun)
    assert begun.names_in("run") == [runs.RECIPE]
    assert runs.read_json(f"run/{runs.RECIPE}", begun) == mended


@pytest.mark.parametrize("trained", [runs.TRAIN, runs.MODEL])
def test_after_training_another_recipe_is_refused_and_changes_nothing(begun, trained):
    begun.resolve(f"run/{trained}").mkdir()
    names = begun.names_in("run")
    with pytest.raises(ConfigError, match=r"a run with another data\.bad_rows"):
        runs.claim_run({"data": {"bad_rows": "skip"}}, "run", begun)
    assert begun.names_in("run") == names
    runs.claim_run({"data": {"bad_rows": "error"}}, "run", begun)
