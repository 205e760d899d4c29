from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from ernie_ray.config import Recipe, SearchRecipe, TuneSection
from ernie_ray.errors import CheckpointError, ConfigError, DivergenceError
from ernie_ray.jobs import trial_run, tune
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.trial_run import TrialArgs
from ernie_ray.jobs.trials import Evaluation, TrialBoard
from ernie_ray.jobs.worker_inputs import Prepared
from ernie_ray.modeldir import PairSpec

DRAWN = [{"training.num_epochs": n} for n in (1, 2, 3)]


def board(tmp_path, drawn=DRAWN) -> TrialBoard:
    return TrialBoard(drawn, str(tmp_path), Storage())


def put(board: TrialBoard, number: int, state: str, *values: float) -> None:
    """Give a trial a state and evaluations at steps 10, 20, ..."""
    found = tuple(Evaluation(step=10 * i, value=value) for i, value in enumerate(values, 1))
    board.put(board.trials[number].model_copy(update={"state": state, "evaluations": found}))


def test_a_board_remembers_what_is_over_and_what_is_left(tmp_path):
    first = board(tmp_path)
    put(first, 0, "finished", 0.5)
    put(first, 1, "running", 0.7)
    second = board(tmp_path, [*DRAWN, {"training.num_epochs": 4}])
    assert [trial.number for trial in second.left()] == [1, 2, 3]
    assert second.trials[1].evaluations == (Evaluation(step=10, value=0.7),)
    assert [trial.number for trial in board(tmp_path, DRAWN[:1]).left()] == []


def test_the_best_trial_finished_unless_none_did(tmp_path):
    trials = board(tmp_path)
    assert trials.best("max") is None
    put(trials, 0, "stopped", 0.9)
    assert trials.best("max").number == 0
    put(trials, 1, "finished", 0.8, 0.6)
    put(trials, 2, "finished", 0.7, 0.75)
    assert trials.best("max").number == 1
    assert trials.best("min").number == 1
    assert trials.trials[1].best("min") == Evaluation(step=20, value=0.6)
    # Of equals the latest, whose checkpoint becomes the model.
    put(trials, 0, "finished", 0.7, 0.7)
    assert trials.trials[0].best("max") == Evaluation(step=20, value=0.7)


def test_an_evaluation_that_comes_again_counts_once(tmp_path):
    trial = board(tmp_path).trials[0].with_evaluation(Evaluation(step=10, value=0.5))
    assert trial.with_evaluation(Evaluation(step=10, value=0.4)) == trial
    assert len(trial.with_evaluation(Evaluation(step=20, value=0.4)).evaluations) == 2


def test_the_table_has_a_line_per_trial_the_best_first(tmp_path):
    trials = board(tmp_path)
    put(trials, 0, "stopped", 0.5)
    put(trials, 2, "finished", 0.5, 0.8)
    assert trials.table("accuracy", "max").splitlines() == [
        "trial  accuracy  at step  steps     state  training.num_epochs",
        "002      0.8000       20     20  finished                    3",
        "000      0.5000       10     10   stopped                    1",
        "001                           0   waiting                    2",
    ]


def test_the_scheduler_stops_a_trial_that_is_worse_than_earlier_ones_at_the_same_steps(tmp_path):
    trials = board(tmp_path)
    put(trials, 0, "finished", 0.5, 0.8)
    put(trials, 1, "stopped", 0.4)
    for mode, value, expected in (
        ("max", 0.3, TrialScheduler.STOP),
        ("max", 0.6, TrialScheduler.CONTINUE),
        ("min", 0.3, TrialScheduler.CONTINUE),
    ):
        settings = TuneSection(grace_steps=10, reduction_factor=2, mode=mode)
        scheduler = tune._scheduler(settings, trials)
        new = type("Trial", (), {"trial_id": "new"})()
        scheduler.on_trial_add(None, new)
        assert scheduler.on_trial_result(None, new, {"step": 5, "value": 0.0}) == "CONTINUE"
        assert scheduler.on_trial_result(None, new, {"step": 10, "value": value}) == expected


def args_of(trial, tmp_path) -> TrialArgs:
    recipe = Recipe.model_validate({"data": {"train": "a"}, "model": {"pretrained": "b"}})
    prepared = Prepared(tmp_path / "start", tmp_path / "train", None, "digest")
    return TrialArgs(
        trial=trial,
        recipe=recipe,
        run=str(tmp_path / "run"),
        metric="accuracy",
        prepared=prepared,
        controllers="none",
        num_runs=3,
    )


def reports_of(args, monkeypatch, *lines, error=None):
    """What a trial reports while its training logs some lines."""

    def train(_recipe, _run, _prepared, *, storage, on_line, callbacks, num_runs):
        assert num_runs == args.num_runs
        for line in lines:
            on_line(line)
        if error is not None:
            raise error

    reports = []
    monkeypatch.setattr(trial_run, "train_prepared", train)
    monkeypatch.setattr(trial_run.ray_tune, "report", reports.append)
    trial_run.run_trial({"args": args.model_dump_json()})
    found = [
        (r["step"], r["value"], r["problem"], r["recurs"]) for r in reports if not r["is_finished"]
    ]
    return found, reports[-1]["is_finished"]


def test_a_trial_reports_what_it_knows_what_it_measures_and_that_it_is_finished(
    tmp_path, monkeypatch
):
    trial = board(tmp_path).trials[0].with_evaluation(Evaluation(step=10, value=0.5))
    (tmp_path / "run").mkdir()
    logged = '{"step": 10, "accuracy": 0.5}\n{"step": 20, "accuracy": 0.6}\n'
    (tmp_path / "run" / "metrics.jsonl").write_text(logged)
    reports, is_finished = reports_of(
        args_of(trial, tmp_path),
        monkeypatch,
        {"step": 30, "loss": 0.1},
        {"step": 30, "accuracy": 0.7},
    )
    assert reports == [(10, 0.5, "", False), (20, 0.6, "", False), (30, 0.7, "", False)]
    assert is_finished


def test_a_trial_that_fails_reports_why_and_whether_it_would_again(tmp_path, monkeypatch):
    args = args_of(board(tmp_path).trials[0], tmp_path)
    diverged, _ = reports_of(args, monkeypatch, {"step": 5, "accuracy": float("nan")})
    assert diverged[0][2:] == ("accuracy is nan; the training diverged", True)
    for error, recurs in (
        (CheckpointError("disk full"), False),
        (DivergenceError("loss is nan"), True),
        (ConfigError("no such setting"), True),
    ):
        failed, is_finished = reports_of(args, monkeypatch, error=error)
        assert failed[0][2:] == (f"{type(error).__name__}: {error}", recurs)
        assert tune._is_over("", {"problem": failed[0][2]})
        assert not is_finished


@pytest.fixture
def watched(tmp_path):
    """A board with one trial under way, what watches it, and the trial as Ray Tune has it."""
    trials = board(tmp_path, DRAWN[:1])
    controllers = SimpleNamespace(abort=lambda run: None)
    watcher = tune._Watcher(trials, "max", controllers, show_progress=False)
    args = args_of(trials.trials[0], tmp_path).model_dump_json()
    trial = SimpleNamespace(config={"args": args}, get_error=lambda: "Traceback\nworker lost")
    watcher.on_trial_start(trial=trial)
    return trials, watcher, trial


def result_of(**changes):
    return {"step": 0, "value": 0.5, "problem": "", "recurs": False, "is_finished": False} | changes


@pytest.mark.parametrize(("recurs", "state"), [(True, "failed"), (False, "running")])
def test_a_trial_is_over_only_if_it_would_fail_again(watched, tmp_path, recurs, state):
    trials, watcher, trial = watched
    watcher.on_trial_result(trial=trial, result=result_of(problem="disk full", recurs=recurs))
    watcher.on_trial_complete(trial=trial)
    again = board(tmp_path, DRAWN[:1])
    assert [(t.state, t.problem) for t in again.trials] == [(state, "disk full")]
    assert len(again.left()) == (not recurs)
    watcher.on_trial_start(trial=trial)  # the next call
    assert trials.trials[0].problem == ""


def test_a_trial_whose_process_was_lost_is_left_and_a_stopped_one_is_not(watched):
    trials, watcher, trial = watched
    watcher.on_trial_error(trial=trial)
    assert [t.problem for t in trials.left()] == ["worker lost"]
    watcher.on_trial_start(trial=trial)
    watcher.on_trial_result(trial=trial, result=result_of(step=10))
    watcher.on_trial_complete(trial=trial)
    assert trials.trials[0].state == "stopped"
    assert trials.left() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "spearman"),
        ({"metric": "pearson"}, "pearson"),
        ({"metric": "mean_squared_error", "mode": "min"}, "mean_squared_error"),
        ({"metric": "f2"}, r"tune\.metric=f2: .* it has: pearson, spearman"),
        ({"metric": "mean_squared_error"}, r"less of mean_squared_error .* tune\.mode=min"),
        ({"mode": "min"}, r"more of spearman is better; set tune\.mode=max"),
    ],
    ids=str,
)
def test_the_metric_of_a_search_is_checked_before_it_starts(
    tmp_path, monkeypatch, settings, expected
):
    recipe = SearchRecipe.model_validate(
        {
            "data": {"train": "a", "dev": "b", "text_pair_column": "text_b"},
            "task": {"family": "pair"},
            "model": {"pretrained": "c"},
            "search": {"training.num_epochs": [1]},
            "tune": settings,
        }
    )
    prepared = Prepared(tmp_path, tmp_path, tmp_path, "digest")
    spec = SimpleNamespace(task=PairSpec(objective="regression"))
    monkeypatch.setattr("ernie_ray.jobs.finetune.read_spec", lambda _folder: spec)
    if " " in expected:
        with pytest.raises(ConfigError, match=expected):
            tune._metric(recipe, prepared, Storage())
    else:
        assert tune._metric(recipe, prepared, Storage()) == expected
