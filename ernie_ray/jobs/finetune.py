"""Fine-tune on Ray Train: prepare, train, export, measure. The wiring of one run.

Knows the parts, not their insides. The same call with the same run folder goes on where an
interrupted one stopped, and does nothing twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError

from ernie_ray.backend import PaddleConfig, PaddleTrainer
from ernie_ray.config import (
    DistillationSection,
    DistillRecipe,
    Lesson,
    LessonRecipe,
    Recipe,
    ScalingSection,
)
from ernie_ray.environment import training_worker_environment
from ernie_ray.jobs import runs
from ernie_ray.jobs.checkpoint_snapshot import SCORE, mend_snapshot
from ernie_ray.jobs.claimed_rows import claim_rows, digest_rows
from ernie_ray.jobs.cpu_share import cpus_of_nodes, cpus_per_worker
from ernie_ray.jobs.export import ExportLabel, export_checkpoint
from ernie_ray.jobs.prepare import prepare
from ernie_ray.jobs.progress import MetricsFile, OnLine, lines_of, start_buffer, watch
from ernie_ray.jobs.run_evaluation import evaluate_run
from ernie_ray.jobs.run_facts import RunFacts, check_test_rows, gather_facts
from ernie_ray.jobs.run_record import recorded
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.jobs.train_worker import TrainWorkerArgs, train_worker
from ernie_ray.jobs.training_failure import explained
from ernie_ray.jobs.worker_inputs import Prepared, check_files
from ernie_ray.modeldir import Lineage
from ernie_ray.modeldir.folder import MANIFEST, read_manifest
from ernie_ray.models.start import read_spec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.metric_choice import MetricChoice, choose_metric
from ernie_ray.text.uris import path_of


@dataclass
class FinetuneResult:
    """What a run came to.

    Attributes:
        run: The run folder.
        model: The exported model directory.
        facts: What the run was made of: rows, versions, warm start.
        metrics: Measured values by split: ``dev`` (best checkpoint), ``test`` (exported model).
        seconds: Time taken by each stage, over all attempts.
    """

    run: Location
    model: Location
    facts: RunFacts
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def finetune(
    recipe: Recipe, run: str, *, storage: Storage, show_progress: bool = True
) -> FinetuneResult:
    """Fine-tune by a recipe. Ray must be initialised.

    Args:
        recipe: The resolved recipe.
        run: The run folder: a name for ``storage``, an absolute path or a URI.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw progress bars on stderr.

    Returns:
        Where everything is, and how good the model is.

    Raises:
        ConfigError: The recipe does not fit the data, the weights or an earlier run in the folder.
        DataError: A file or row cannot be used.
        CheckpointError: The run ended without a whole checkpoint.
        ErnieRayError: Training failed more often than ``scaling.max_failures``.
    """
    return run_recipe(recipe, run, prepare, storage=storage, show_progress=show_progress)


AnyRecipe = Recipe | DistillRecipe | LessonRecipe
_R = TypeVar("_R", Recipe, DistillRecipe, LessonRecipe, contravariant=True)


class Prepare(Protocol[_R]):
    """Makes what the workers of a recipe's run read."""

    def __call__(self, recipe: _R, run: str, storage: Storage, *, show_progress: bool) -> Prepared:
        """Write it, or find it written."""


def run_recipe(
    recipe: _R,
    run: str,
    prepare_run: Prepare[_R],
    *,
    storage: Storage,
    distillation: DistillationSection | Lesson | None = None,
    show_progress: bool = True,
) -> FinetuneResult:
    """Prepare, train, export and measure by any recipe; ``finetune`` has what it raises.

    Args:
        recipe: The resolved recipe.
        run: The run folder.
        prepare_run: Makes what the workers read.
        storage: Resolves the recipe's files and the run folder.
        distillation: How a student learns; None: from labels, with the task's loss.
        show_progress: Draw progress bars on stderr.
    """
    # Before the folder is claimed: a wrong name in a recipe must not keep the right one out.
    check_files(recipe, storage)
    runs.claim_run(recipe.model_dump(mode="json"), run, storage)
    metrics: dict[str, dict[str, float]] = {}
    with recorded(run, storage) as record:
        with record.timed("prepare"):
            claim_rows(digest_rows(recipe, storage), run, storage)
            prepared = prepare_run(recipe, run, storage, show_progress=show_progress)
            facts = gather_facts(recipe, prepared, storage)
            if recipe.data.test:
                facts.rows["test"] = check_test_rows(recipe, prepared.start, storage)
        record.facts = facts
        record.write()
        with record.timed("train"):
            _train(recipe, distillation, run, prepared, storage, show_progress=show_progress)
        with record.timed("export"):
            metrics["dev"] = _export(recipe, run, prepared, storage)
        with record.timed("evaluate"):
            evaluation = evaluate_run(recipe, run, storage, show_progress=show_progress)
        if recipe.data.test and evaluation is not None:
            metrics["test"] = evaluation.metrics
            record.facts = facts.with_truncated("test", evaluation.num_truncated)
        result = FinetuneResult(
            storage.resolve(run),
            storage.resolve(f"{run}/{runs.MODEL}"),
            record.facts,
            metrics,
            record.seconds,
        )
        runs.write_json(_as_json(result), f"{run}/{runs.RESULT}", storage)
    return result


def train_prepared(
    recipe: Recipe,
    run: str,
    prepared: Prepared,
    *,
    storage: Storage,
    on_line: OnLine,
    callbacks: Sequence[Any] = (),
    num_runs: int = 1,
) -> None:
    """Train in a run folder and stop there; ``finetune`` with the same folder does what is left.

    Args:
        recipe: The resolved recipe.
        run: The run folder.
        prepared: What the workers read.
        storage: Resolves the run folder.
        on_line: Called with each line of metrics.
        callbacks: Ray Train's, for its controller.
        num_runs: Runs that train at the same time and share the cluster's CPUs.

    Raises:
        ConfigError: The folder holds another run.
        ErnieRayError: Training failed more often than ``scaling.max_failures``.
    """
    runs.claim_run(recipe.model_dump(mode="json"), run, storage)
    with recorded(run, storage) as record:
        record.facts = gather_facts(recipe, prepared, storage)
        record.write()
        with record.timed("train"):
            _train(
                recipe, None, run, prepared, storage,
                on_line=on_line, callbacks=callbacks, num_runs=num_runs,
            )  # fmt: skip


def _train(
    recipe: AnyRecipe,
    distillation: DistillationSection | Lesson | None,
    run: str,
    prepared: Prepared,
    storage: Storage,
    *,
    show_progress: bool = False,
    on_line: OnLine | None = None,
    callbacks: Sequence[Any] = (),
    num_runs: int = 1,
) -> None:
    if runs.has_model(run, storage):
        return
    metric = metric_of(recipe, prepared, storage)
    scored = metric if prepared.dev and metric.name else None
    mend_snapshot(run, scored, storage)
    buffer_name = f"ernie-ray-metrics-{uuid.uuid4().hex[:12]}"
    buffer = start_buffer(buffer_name)
    args = TrainWorkerArgs(
        start=str(prepared.start),
        train_features=str(prepared.train),
        dev_features=str(prepared.dev or ""),
        training=recipe.training,
        distillation=distillation,
        log_actor=buffer_name,
    )
    num_cpus = cpus_per_worker(recipe.scaling, cpus_of_nodes(), num_runs)
    trainer = PaddleTrainer(
        train_worker,
        train_loop_config=args.model_dump(),
        paddle_config=PaddleConfig(
            socket_interface=recipe.scaling.socket_interface or None,
            environment=partial(training_worker_environment, num_cpus),
        ),
        scaling_config=_scaling(recipe.scaling, num_cpus),
        run_config=_run_config(recipe, run, scored, storage, callbacks),
    )
    with MetricsFile(f"{run}/{runs.METRICS}", storage) as file:
        for line in file.regain(runs.known_evaluations(run, storage)):
            if on_line is not None:
                on_line(line)
        with watch(lines_of(buffer), file, show_progress=show_progress, on_line=on_line):
            try:
                trainer.fit()
            except TrainingFailedError as error:
                raise explained(error) from error


def _scaling(scaling: ScalingSection, num_cpus: int) -> ScalingConfig:
    return ScalingConfig(
        num_workers=scaling.num_workers,
        use_gpu=scaling.use_gpu,
        resources_per_worker={
            "CPU": num_cpus,
            **({"GPU": 1} if scaling.use_gpu else {}),
        },
    )


def _run_config(
    recipe: AnyRecipe,
    run: str,
    metric: MetricChoice | None,
    storage: Storage,
    callbacks: Sequence[Any],
) -> RunConfig:
    return RunConfig(
        name=runs.TRAIN,
        storage_path=str(storage.resolve(run)),
        failure_config=FailureConfig(max_failures=recipe.scaling.max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=recipe.training.num_checkpoints,
            checkpoint_score_attribute=SCORE if metric else None,
        ),
        callbacks=list(callbacks),
    )


def metric_of(
    recipe: AnyRecipe, prepared: Prepared, storage: Storage, *, setting: str = "training.metric"
) -> MetricChoice:
    """Give the dev metric by which a run chooses checkpoints.

    Args:
        recipe: Names it, or leaves it to the task.
        prepared: What the workers read.
        storage: Resolves the run folder.
        setting: Where a user named the metric.

    Raises:
        ConfigError: The recipe names one that the task does not have.
    """
    family = family_of(read_spec(storage.fetch(prepared.start)).task)
    return choose_metric(family, recipe.training.metric, setting)


def _export(recipe: AnyRecipe, run: str, prepared: Prepared, storage: Storage) -> dict[str, float]:
    """Export the best checkpoint, unless that is done, and give its dev metrics."""
    if runs.has_model(run, storage):  # whose checkpoints a user may have removed since
        manifest = storage.fetch(f"{run}/{runs.MODEL}/{MANIFEST}")
        return dict(read_manifest(manifest.parent).metrics.get("dev", {}))
    # Of a remote run only the checkpoints are needed here; their parent is shaped like the run.
    local_run = storage.fetch(f"{run}/{runs.TRAIN}").parent
    best = runs.best_checkpoint(local_run, metric_of(recipe, prepared, storage))
    location = path_of(str(storage.resolve(run)))
    name = recipe.model_name or location.rstrip("/").rpartition("/")[2]
    lineage = Lineage(
        run=str(storage.resolve(run)),
        data_digest=prepared.data_digest,
        recipe=recipe.model_dump(mode="json"),
    )
    export_checkpoint(
        best.path,
        storage.fetch(prepared.start),
        f"{run}/{runs.MODEL}",
        ExportLabel(name, lineage),
        storage=storage,
    )
    return best.metrics


def _as_json(result: FinetuneResult) -> dict[str, Any]:
    return {
        "run": str(result.run),
        "model": str(result.model),
        "metrics": result.metrics,
        "rows": {split: facts.model_dump() for split, facts in result.facts.rows.items()},
        "seconds": result.seconds,
    }
