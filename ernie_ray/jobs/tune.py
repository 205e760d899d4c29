"""Search a recipe's settings: Ray Tune starts the trials, and ASHA stops those that fall behind.

A trial is a fine-tuning run of its own, up to its last checkpoint, in ``trials/NNN``. Rows are
tokenized once for all trials that tokenize alike. The same call again goes on: trials that are over
are not run again but count for the others, and a broken-off one goes on from its checkpoint.

best.toml          the best recipe, which ``finetune`` takes
trials.txt         the table of all trials; trials.json: the same with every measurement
trials/            a run folder each
starts/ features/  what the trials share
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler
from tqdm import tqdm

from ernie_ray.config import SearchRecipe, TuneSection, as_toml
from ernie_ray.errors import ConfigError, ErnieRayError
from ernie_ray.jobs import runs
from ernie_ray.jobs.claimed_rows import claim_rows, digest_rows
from ernie_ray.jobs.finetune import metric_of
from ernie_ray.jobs.prepare import prepare
from ernie_ray.jobs.run_record import report_run
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.jobs.train_controllers import TrainControllers
from ernie_ray.jobs.trial_run import TrialArgs, run_trial
from ernie_ray.jobs.trials import TRIALS, Evaluation, Trial, TrialBoard
from ernie_ray.jobs.worker_inputs import Prepared, check_files

BEST = "best.toml"
TABLE = "trials.txt"
_STARTS = "starts"
_STAGES = runs.Stages(prepared=(_STARTS, runs.FEATURES), trained=(TRIALS,))
# ASHA wants to know when a trial ends; its rungs are powers of the factor, so this is never.
_MAX_RUNGS = 20
# A trial's own process only waits for its training workers, and must not take a CPU from them; Ray
# Tune wants some resource to be named, and this one every cluster has.
_TRIAL_RESOURCES = {"node:__internal_head__": 0.001}


@dataclass(frozen=True)
class TuneResult:
    """What a search came to.

    Attributes:
        output: Its folder.
        recipe: The best recipe's file.
        best: The best trial.
        run: The best trial's run folder.
        failed: Trials that would fail again.
        broken_off: Trials that the same call again goes on with.
        table: All trials, the best first.
    """

    output: Location
    recipe: Location
    best: Trial
    run: Location
    failed: list[Trial]
    broken_off: list[Trial]
    table: str


def tune(
    recipe: SearchRecipe, output: str, *, storage: Storage, show_progress: bool = True
) -> TuneResult:
    """Try recipes and say which is best. Ray must be initialised.

    Args:
        recipe: The resolved recipe with its ranges.
        output: Folder to write.
        storage: Resolves the recipe's files and the folder.
        show_progress: Draw progress bars on stderr.

    Raises:
        ConfigError: The folder holds another search, or one on other rows; or the metric is not
            one of the task's, or better the other way.
        DataError: A file or row cannot be used.
        ErnieRayError: No trial could be measured.
        KeyboardInterrupt: Ctrl-C; what is done is kept.
    """
    check_files(recipe, storage)
    free = {"tune": {"num_trials", "max_concurrent"}}  # may change when a search goes on
    runs.claim_run(recipe.model_dump(mode="json", exclude=free), output, storage, stages=_STAGES)
    rows = digest_rows(recipe, storage)
    claim_rows(rows, output, storage, stages=_STAGES)
    board = TrialBoard(recipe.trials(), output, storage)
    left = board.left()
    prepared = {
        trial.number: _prepare(recipe, trial, output, storage, show_progress=show_progress)
        for trial in left or board.trials[:1]
    }
    metric = _metric(recipe, next(iter(prepared.values())), storage)
    if left:
        for trial in left:
            claim_rows(rows, _run_of(trial, output), storage)
        controllers = TrainControllers()
        args = [
            TrialArgs(
                trial=trial,
                recipe=recipe.recipe_with(trial.values),
                run=str(storage.resolve(_run_of(trial, output))),
                metric=metric,
                prepared=prepared[trial.number],
                controllers=controllers.name,
                num_runs=recipe.tune.max_concurrent,
            )
            for trial in left
        ]
        watcher = _Watcher(board, recipe.tune.mode, controllers, show_progress=show_progress)
        _run(args, recipe, watcher, output, storage)
    return _finish(recipe, board, output, storage, metric)


def _run_of(trial: Trial, output: str) -> str:
    return f"{output}/trials/{trial.name}"


def _prepare(
    recipe: SearchRecipe, trial: Trial, output: str, storage: Storage, *, show_progress: bool
) -> Prepared:
    """Make what a trial's workers read, or find it made for another trial."""
    settings = recipe.recipe_with(trial.values)
    deciding = settings.model_dump_json(include={"data", "task", "model"})
    start = f"{output}/{_STARTS}/{hashlib.sha256(deciding.encode()).hexdigest()[:12]}"
    return prepare(settings, start, storage, show_progress=show_progress, features_of=output)


def _metric(recipe: SearchRecipe, prepared: Prepared, storage: Storage) -> str:
    """Name the metric that trials are compared by, once it is known to be one."""
    setting = "tune.metric" if recipe.tune.metric else "training.metric"
    choice = metric_of(recipe.recipe_with({}), prepared, storage, setting=setting)
    if choice.mode != recipe.tune.mode:
        raise ConfigError(
            f"tune.mode={recipe.tune.mode}, but {'less' if choice.mode == 'min' else 'more'} of "
            f"{choice.name} is better; set tune.mode={choice.mode}"
        )
    return choice.name


def _run(
    args: list[TrialArgs], recipe: SearchRecipe, watcher: _Watcher, output: str, storage: Storage
) -> None:
    """Run trials until each is over; Ray Tune's own folder is gone afterwards."""
    name = f".tune-{uuid.uuid4().hex[:8]}"
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(run_trial, ray_tune.PlacementGroupFactory([_TRIAL_RESOURCES])),
        param_space={"args": ray_tune.grid_search([one.model_dump_json() for one in args])},
        tune_config=ray_tune.TuneConfig(
            scheduler=_scheduler(recipe.tune, watcher.board),
            max_concurrent_trials=recipe.tune.max_concurrent,
            trial_dirname_creator=lambda trial: trial.trial_id,
            # A trial that was stopped leaves a thread behind that waits for its workers.
            reuse_actors=False,
        ),
        run_config=ray_tune.RunConfig(
            name=name,
            storage_path=str(storage.resolve(output)),
            stop=_is_over,
            failure_config=ray_tune.FailureConfig(max_failures=recipe.scaling.max_failures),
            callbacks=[watcher],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        watcher.close()
        storage.remove(f"{output}/{name}")
    # Ray Tune takes Ctrl-C for a wish to end well.
    if any(not trial.problem for trial in watcher.board.left()):
        raise KeyboardInterrupt


def _is_over(_trial_id: str, result: dict[str, Any]) -> bool:
    return bool(result.get("problem"))


def _scheduler(settings: TuneSection, board: TrialBoard) -> ASHAScheduler:
    """ASHA that knows the trials which an earlier attempt brought to their end."""
    scheduler = ASHAScheduler(
        time_attr="step",
        metric="value",
        mode=settings.mode,
        max_t=settings.grace_steps * settings.reduction_factor**_MAX_RUNGS,
        grace_period=settings.grace_steps,
        reduction_factor=settings.reduction_factor,
        stop_last_trials=False,
    )
    for trial in board.trials:
        if trial.is_over:
            known: Any = SimpleNamespace(trial_id=f"earlier-{trial.name}")
            scheduler.on_trial_add(None, known)
            for evaluation in trial.evaluations:
                scheduler.on_trial_result(None, known, evaluation.model_dump())
    return scheduler


class _Watcher(ray_tune.Callback):
    """Keeps the board up to date; called by Ray Tune in the driver."""

    def __init__(
        self, board: TrialBoard, mode: str, controllers: TrainControllers, *, show_progress: bool
    ) -> None:
        self.board = board
        self._mode = mode
        self._controllers = controllers
        self._bar = tqdm(
            desc="trials",
            unit=" trials",
            total=len(board.trials),
            initial=sum(trial.is_over for trial in board.trials),
            disable=not show_progress,
        )

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune writes it beside its own state, which nobody reads

    def on_trial_start(self, *, trial: Any, **_info: Any) -> None:
        """Mark a trial as running."""
        self._put(self._known(trial).model_copy(update={"state": "running", "problem": ""}))

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_info: Any) -> None:
        """Take a measurement, or that the trial is over."""
        known = self._known(trial)
        if problem := result["problem"]:
            state = "failed" if result["recurs"] else "running"
            known = known.model_copy(update={"state": state, "problem": problem})
        elif result["is_finished"]:
            known = known.model_copy(update={"state": "finished"})
        else:
            known = known.with_evaluation(Evaluation(step=result["step"], value=result["value"]))
        self._put(known)

    def on_trial_complete(self, *, trial: Any, **_info: Any) -> None:
        """End the training of a trial that is stopped; Ray Tune ends its process next.

        A trial that does not say itself that it is over is stopped by the scheduler.
        """
        known = self._known(trial)
        if known.state != "finished":
            self._controllers.abort(self._args(trial).run)
        if not known.is_over and not known.problem:
            known = known.model_copy(update={"state": "stopped"})
        self._bar.update()
        self._put(known)

    def on_trial_recover(self, *, trial: Any, **_info: Any) -> None:
        """A trial's process failed and is started again: free what its training holds."""
        self._controllers.abort(self._args(trial).run)

    def on_trial_error(self, *, trial: Any, **_info: Any) -> None:
        """A trial's process failed more often than allowed; the next call goes on with it."""
        self._controllers.abort(self._args(trial).run)
        problem = str(trial.get_error()).strip().splitlines()[-1]
        self._bar.update()
        self._put(self._known(trial).model_copy(update={"problem": problem}))

    def _args(self, trial: Any) -> TrialArgs:
        return TrialArgs.model_validate_json(trial.config["args"])

    def _known(self, trial: Any) -> Trial:
        return self.board.trials[self._args(trial).trial.number]

    def _put(self, trial: Trial) -> None:
        self.board.put(trial)
        best = self.board.best(self._mode)
        value = best.best(self._mode) if best else None
        if best and value:
            self._bar.set_postfix_str(f"best {value.value:.4f} (trial {best.name})")


def _finish(
    recipe: SearchRecipe, board: TrialBoard, output: str, storage: Storage, metric: str
) -> TuneResult:
    """Write the table and the best recipe."""
    mode = recipe.tune.mode
    table = board.table(metric, mode)
    runs.write_text(table + "\n", f"{output}/{TABLE}", storage)
    for trial in board.trials:  # one that was stopped is ended before it can do so itself
        if storage.exists(f"{_run_of(trial, output)}/{runs.RECIPE}"):
            report_run(_run_of(trial, output), storage)
    best = board.best(mode)
    evaluation = best.best(mode) if best else None
    if best is None or evaluation is None:
        problem = next((trial.problem for trial in board.trials if trial.problem), "none ran")
        raise ErnieRayError(f"no trial could be measured; the first problem: {problem}")
    note = f"# Trial {best.name}: {metric} {evaluation.value:.4f} at step {evaluation.step}\n\n"
    runs.write_text(note + as_toml(recipe.recipe_with(best.values)), f"{output}/{BEST}", storage)
    return TuneResult(
        output=storage.resolve(output),
        recipe=storage.resolve(f"{output}/{BEST}"),
        best=best,
        run=storage.resolve(_run_of(best, output)),
        failed=[trial for trial in board.trials if trial.state == "failed"],
        broken_off=[trial for trial in board.left() if trial.problem],
        table=table,
    )
