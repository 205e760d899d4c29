"""Which rows a student's epochs are made of: labelled ones more often, or in the end alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ernie_ray.config import DistillationSection
from ernie_ray.errors import ConfigError
from ernie_ray.text.cache import FeatureCache
from ernie_ray.training.batch_plan import EpochRows


def epoch_rows(
    cache: FeatureCache, settings: DistillationSection, num_epochs: int
) -> tuple[EpochRows, ...]:
    """What epochs are made of, where not of every row once.

    Args:
        cache: The training rows.
        settings: Repeats of labelled rows, and epochs of their labels alone.
        num_epochs: Of the training.

    Raises:
        ConfigError: Epochs of labelled rows are asked for, and there is none.
    """
    if settings.labelled_repeats == 1 and not settings.hard_epochs:
        return ()  # without a look at the labels
    every, labelled, epochs = np.arange(len(cache)), _labelled_rows(cache), []
    # Were all rows labelled, repeats would only make the epochs longer.
    if settings.labelled_repeats > 1 and 0 < len(labelled) < len(every):
        repeated = np.repeat(labelled, settings.labelled_repeats - 1)
        epochs.append(EpochRows(0, np.concatenate([every, repeated])))
    if settings.hard_epochs:
        if not len(labelled):
            raise ConfigError(
                "distillation.hard_epochs needs labelled rows, and the training rows have none; "
                "set it to 0"
            )
        epochs.append(EpochRows(num_epochs - settings.hard_epochs, labelled))
    return tuple(epochs)


def _labelled_rows(cache: FeatureCache) -> NDArray[np.int64]:
    """Indices of the rows that have a label and are no augmented copies."""
    every = np.arange(len(cache))
    labels = cache.labels(every)
    is_labelled = np.isfinite(labels).all(axis=1) & (labels.shape[1] > 0)
    return every[is_labelled & (cache.copies == 0)]
