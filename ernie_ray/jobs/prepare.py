"""Make what the workers of a fine-tuning read: a pretrained encoder with its head, and the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ernie_ray.config import Recipe
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.features import collect_labels
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.warm_start import Network, choose_weights
from ernie_ray.jobs.worker_inputs import Prepared, feature_caches, row_schema, start_folder
from ernie_ray.modeldir import Pooling, TaskSpec
from ernie_ray.models.pretrained import (
    EMBEDDED,
    PretrainedEncoder,
    from_pretrained,
    keep_layers,
    trim_vocabulary,
)
from ernie_ray.models.start import StartSpec, write_start, write_warm_weights
from ernie_ray.tasks import family_of
from ernie_ray.tasks.from_recipe import needs_labels, task_spec
from ernie_ray.text.rows import read_rows
from ernie_ray.text.uris import join
from ernie_ray.text.windows import cut_to_characters
from ernie_ray.training.checkpoint import STATE

_WORD_TABLE = "embeddings.word.weight"


def prepare(
    recipe: Recipe, run: str, storage: Storage, *, show_progress: bool, features_of: str = ""
) -> Prepared:
    """Write the start folder and the feature caches of a run, or find them written.

    Args:
        recipe: The resolved recipe.
        run: The run folder, as ``Storage.resolve`` takes it.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw bars on stderr.
        features_of: Folder whose feature caches are added to and used; empty: the run's.

    Raises:
        DataError: A file or row cannot be used.
        SourceError: The pretrained weights cannot be had.
        ModelDirError: The model directory to start from is broken.
        CheckpointError: The checkpoint to start from is broken.
        ConfigError: The recipe does not fit the weights or the rows.
    """
    start = start_folder(run, storage, lambda folder: _write_start(recipe, folder, storage))
    schema = row_schema(recipe)
    return feature_caches(
        recipe,
        start,
        {"train": schema, "dev": schema},
        features_of or run,
        storage,
        show_progress=show_progress,
    )


def _write_start(recipe: Recipe, folder: Path, storage: Storage) -> None:
    pretrained = from_pretrained(pretrained_source(recipe.model.pretrained, storage))
    if recipe.model.num_layers:
        pretrained = keep_layers(pretrained, recipe.model.num_layers)
    task = _task(recipe, storage)
    if family_of(task).is_per_token:
        cut_to_characters(pretrained.tokenizer)
    if recipe.model.text_prefix is not None:
        # Before trimming, which keeps the pieces of the prefix.
        pretrained = replace(pretrained, text_prefix=recipe.model.text_prefix)
    if recipe.model.trim_vocabulary:
        pretrained = trim_vocabulary(pretrained, _training_texts(recipe, storage))
    spec = _start_spec(recipe, pretrained, task)
    write_start(folder, spec, pretrained)
    if recipe.model.warm_start:
        _warm_start(recipe, spec, pretrained, folder, storage)


def _warm_start(
    recipe: Recipe,
    spec: StartSpec,
    pretrained: PretrainedEncoder,
    folder: Path,
    storage: Storage,
) -> None:
    """Put chosen weights of another run into the start folder, with the report beside them."""
    shapes = {f"encoder.{name}": value.shape for name, value in pretrained.weights.items()}
    if spec.task.num_outputs:
        shapes["head.weight"] = (spec.network.hidden_size, spec.task.num_outputs)
        shapes["head.bias"] = (spec.task.num_outputs,)
    source = pretrained_source(recipe.model.warm_start, storage)
    weights, report = choose_weights(
        source,
        recipe.model.warm_start_pattern,
        Network(
            shapes=shapes,
            words=pretrained.weights[_WORD_TABLE],
            vocabulary=pretrained.tokenizer.get_vocab(with_added_tokens=True),
            task=spec.task,
        ),
        fetched_start(recipe.model.warm_start, source, storage),
    )
    write_warm_weights(folder, weights)
    (folder / runs.WARM_START).write_text(report.model_dump_json(indent=1), encoding="utf-8")


def pretrained_source(pretrained: str, storage: Storage) -> str:
    """Resolve a pretrained source: names stay as they are, folders are brought to this machine."""
    is_short = pretrained.count("/") <= 1
    if pretrained in EMBEDDED or (is_short and not _is_there(pretrained, storage)):
        return pretrained
    return str(storage.fetch(pretrained))


def _is_there(name: str, storage: Storage) -> bool:
    try:
        return storage.exists(name)
    except ConfigError:  # relative to nothing, in a submitted job; a hub's name needs no folder
        return False


def fetched_start(source: str, folder: str, storage: Storage) -> Path | None:
    """Bring the start folder of a remote checkpoint's run to this machine.

    Args:
        source: Where the checkpoint is.
        folder: What ``pretrained_source`` made of it.
        storage: Resolves the source.

    Returns:
        The folder; None if the source is no checkpoint, or stands beside its run's start already.
    """
    if not (Path(folder) / STATE).is_file():
        return None
    location = storage.resolve(source)
    if isinstance(location, Path):
        return None
    start = join(location, runs.START, above=2)
    return storage.fetch(start) if storage.exists(start) else None


def _task(recipe: Recipe, storage: Storage) -> TaskSpec:
    if not needs_labels(recipe.task):
        return task_spec(recipe.task, ())
    labels = recipe.task.labels
    location = storage.resolve(recipe.data.train)
    if not labels:
        labels = collect_labels(location, row_schema(recipe), on_bad=recipe.data.bad_rows)
    try:
        return task_spec(recipe.task, labels)
    except ValueError as error:
        raise ConfigError(
            f"{location}: the rows have {len(labels)} label ({', '.join(labels)}); {error}: check "
            "data.label_column, or name all in task.labels"
        ) from error


def _start_spec(recipe: Recipe, pretrained: PretrainedEncoder, task: TaskSpec) -> StartSpec:
    model = recipe.model
    if model.max_tokens > pretrained.config.max_positions:
        raise ConfigError(
            f"model.max_tokens={model.max_tokens}, but {pretrained.source} has "
            f"{pretrained.config.max_positions} positions; choose at most that"
        )
    return StartSpec(
        task=task,
        network=pretrained.config,
        pooling=Pooling(model.pooling or pretrained.pooling),
        normalize=pretrained.normalize,
        text_prefix=pretrained.text_prefix,
        max_tokens=model.max_tokens,
        pretrained=pretrained.source,
    )


def _training_texts(recipe: Recipe, storage: Storage) -> Iterator[str]:
    reader = read_rows(
        storage.resolve(recipe.data.train), row_schema(recipe), on_bad=recipe.data.bad_rows
    )
    for row in reader:
        yield row.text
        if row.text_pair is not None:
            yield row.text_pair
