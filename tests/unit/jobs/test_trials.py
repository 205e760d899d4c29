from ray.tune.schedulers import TrialScheduler

from ernie_ray.config import Recipe, TuneSection
from ernie_ray.errors import CheckpointError
from ernie_ray.jobs import trial_run, tune
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.trial_run import TrialArgs
from ernie_ray.jobs.trials import Evaluation, TrialBoard
from ernie_ray.jobs.worker_inputs import Prepared

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
    found = [(r["step"], r["value"], r["problem"]) for r in reports if not r["is_finished"]]
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
    assert reports == [(10, 0.5, ""), (20, 0.6, ""), (30, 0.7, "")]
    assert is_finished


def test_a_metric_that_the_task_does_not_have_is_named_with_those_that_it_has(
    tmp_path, monkeypatch
):
    trial = board(tmp_path).trials[0]
    args = args_of(trial, tmp_path).model_copy(update={"metric": "f2"})
    reports, _ = reports_of(args, monkeypatch, {"step": 5, "accuracy": 0.5, "macro_f1": 0.4})
    assert reports[0][2].endswith("set tune.metric to one of: accuracy, macro_f1")
    assert tune._is_over("", {"problem": reports[0][2]})


def test_a_trial_that_fails_reports_why(tmp_path, monkeypatch):
    args = args_of(board(tmp_path).trials[0], tmp_path)
    diverged, _ = reports_of(args, monkeypatch, {"step": 5, "accuracy": float("nan")})
    assert diverged[0][2] == "accuracy is nan; the training diverged"
    failed, is_finished = reports_of(args, monkeypatch, error=CheckpointError("disk full"))
    assert failed[0][2] == "CheckpointError: disk full"
    assert not is_finished
