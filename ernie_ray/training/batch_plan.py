"""Which rows make up which step: a pure function of (lengths, batch size, seed, epoch, step).

Every process computes the same plan, so a checkpoint stores only (epoch, step), and the rows of a
step do not depend on the number of workers. Knows lengths, not rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rows are sorted by length inside a group of this many batches: enough that the rows of a batch
# are alike and padding is small, few enough that batches of neighbouring steps still differ.
_GROUP_BATCHES = 50


@dataclass(frozen=True)
class EpochRows:
    """What epochs are made of, where not of every row once.

    Attributes:
        first_epoch: From this epoch on, counted from 0, these rows are dealt.
        rows: Their indices, at least one; a row is dealt as often as it stands here.
    """

    first_epoch: int
    rows: NDArray[np.int64]


class BatchPlan:
    """Deals an epoch's rows, mostly each row once, into batches of similar lengths."""

    def __init__(
        self,
        lengths: NDArray[np.int32],
        global_batch_size: int,
        seed: int,
        epochs: Sequence[EpochRows] = (),
    ) -> None:
        """Plan over some rows.

        Args:
            lengths: Tokens of each row, shape [rows]; at least one row.
            global_batch_size: Rows per optimizer step over all workers.
            seed: Same seed, same plan.
            epochs: What epochs are made of, by their first one; before those, of every row once.

        Raises:
            ValueError: There are no rows, or the batch size is below 1.
        """
        if len(lengths) == 0:
            raise ValueError("a batch plan needs at least one row")
        if global_batch_size < 1:
            raise ValueError(f"global_batch_size={global_batch_size} must be at least 1")
        self._lengths = lengths
        self._global_batch_size = global_batch_size
        self._seed = seed
        self._epochs = tuple(epochs)
        self._all_rows = np.arange(len(lengths), dtype=np.int64)
        self._epoch: int | None = None
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def num_steps(self, epoch: int) -> int:
        """Count the steps of an epoch, the last one perhaps with fewer rows."""
        return -(-len(self._rows_of(epoch)) // self._global_batch_size)

    def global_batch(self, epoch: int, step: int) -> NDArray[np.int64]:
        """List the rows of one optimizer step.

        Args:
            epoch: From 0.
            step: From 0 within the epoch.

        Returns:
            Row indices by growing length, shape [global_batch_size]; fewer in the last step of an
            epoch only.

        Raises:
            IndexError: The epoch has no such step.
        """
        if not 0 <= step < self.num_steps(epoch):
            raise IndexError(f"step {step} of {self.num_steps(epoch)} in epoch {epoch}")
        if epoch != self._epoch:
            self._order, self._epoch = self._order_of(epoch), epoch
        start = step * self._global_batch_size
        return self._order[start : start + self._global_batch_size]

    def shard(self, epoch: int, step: int, rank: int, world_size: int) -> NDArray[np.int64]:
        """List the rows of one worker in one step.

        The batch is dealt out like cards in growing length, so that all workers get similar
        lengths and wait little for each other.

        Args:
            epoch: From 0.
            step: From 0 within the epoch.
            rank: This worker, from 0.
            world_size: Number of workers.

        Returns:
            Row indices by growing length. Over all ranks they are the global batch. The numbers
            of two ranks differ by one at most, so a rank gets none when the batch has fewer rows
            than there are workers.
        """
        return self.global_batch(epoch, step)[rank::world_size]

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, epoch))
        rows = self._rows_of(epoch)
        num_rows, size = len(rows), self._global_batch_size
        shuffled = rows[rng.permutation(num_rows)]
        group = np.arange(num_rows) // (size * _GROUP_BATCHES)
        # The last key sorts first: by group, within it by length, ties as shuffled.
        grouped = shuffled[np.lexsort((self._lengths[shuffled], group))]
        # Only whole batches change places; the rest stays last, so that every step starts at a
        # multiple of the batch size.
        num_whole = num_rows // size
        whole = grouped[: num_whole * size].reshape(num_whole, size)
        return np.concatenate((whole[rng.permutation(num_whole)].ravel(), grouped[whole.size :]))

    def _rows_of(self, epoch: int) -> NDArray[np.int64]:
        begun = [epochs.rows for epochs in self._epochs if epoch >= epochs.first_epoch]
        return begun[-1] if begun else self._all_rows


def micro_batches(
    indices: NDArray[np.int64], per_worker_batch_size: int
) -> Iterator[NDArray[np.int64]]:
    """Split a worker's rows into what goes through the network at once.

    Args:
        indices: As from ``BatchPlan.shard``, by growing length, so that neighbours pad little.
        per_worker_batch_size: Most rows of a part.

    Yields:
        Consecutive parts of ``indices``, none empty; the last may be shorter.
    """
    for start in range(0, len(indices), per_worker_batch_size):
        yield indices[start : start + per_worker_batch_size]
