"""What a Tiny student minimises: its teacher's states and answers, in one forward pass of both.

Knows Paddle, the feature cache and what a teacher shows; not the loop that calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from ernie_ray.config import Lesson, StatesSection
from ernie_ray.distillation.frozen_teacher import FrozenTeacher, Shown
from ernie_ray.distillation.inside import RELATED, Inside
from ernie_ray.distillation.objective import DistillationObjective
from ernie_ray.distillation.states import relation_divergence, state_error
from ernie_ray.errors import ConfigError
from ernie_ray.modeldir.folder import TOKENIZER
from ernie_ray.models.start import StartSpec
from ernie_ray.models.text_network import TRAINING_ONLY, TextNetwork
from ernie_ray.text.cache import FeatureCache
from ernie_ray.text.spans import AlignedBatch, PlacingTokenizer, align_batch
from ernie_ray.text.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Pupil:
    """The student's side.

    Attributes:
        network: What is trained.
        spec: Describes it.
        start: Its start folder.
    """

    network: TextNetwork
    spec: StartSpec
    start: Path


class TransferObjective:
    """Sum over a micro-batch of the weighted losses of logits, relations and hidden states."""

    def __init__(
        self,
        pupil: Pupil,
        teacher: FrozenTeacher | None,
        lesson: Lesson,
        logits: DistillationObjective | None,
    ) -> None:
        """Prepare both sides; gives the student's network the projections that training needs.

        Args:
            pupil: The student, before its optimizer is made.
            teacher: None: its logits stand in the cache.
            lesson: What is imitated.
            logits: How the teacher's answers and the labels are learnt; None: not at all.

        Raises:
            ConfigError: The lesson does not fit both networks.
        """
        self._teacher, self._states, self._logits = teacher, lesson.states, logits
        if teacher is None or not self._states.uses_states:
            self._inside = None
            return
        width = pupil.spec.network.hidden_size
        _refuse_odd_heads(self._states, (width, teacher.width))
        layers = tuple(range(1, len(lesson.teacher_layers) + 1))
        self._inside = Inside(pupil.network, layers, len(layers))
        self._projections = nn.LayerList([_projection(width, teacher.width) for _ in layers])
        if self._states.hidden_weight:
            pupil.network.add_sublayer(TRAINING_ONLY, self._projections)
        self._tokenizer = PlacingTokenizer(
            load_tokenizer(pupil.start / TOKENIZER),
            max_tokens=pupil.spec.max_tokens,
            text_prefix=pupil.spec.text_prefix,
        )

    def __call__(
        self,
        logits: paddle.Tensor | None,
        cache: FeatureCache,
        indices: NDArray[np.int64],
        epoch: int,
    ) -> paddle.Tensor:
        """Sum the loss over rows; see ``Objective``. Without a head there are no logits."""
        loss = paddle.zeros([])
        if self._teacher is None:
            answers = cache.teacher_logits(indices)
        elif self._logits is not None and self._logits.is_hard(epoch):
            answers = np.empty((len(indices), 0), np.float32)  # labels alone: no teacher is asked
        else:
            shown, places = self._teacher.ask(cache.texts(indices))
            answers = shown.logits
            if self._inside is not None:
                aligned = align_batch(self._tokenizer.place(cache.texts(indices)), places)
                loss = loss + self._inside_loss(self._inside, shown, aligned)
        if self._logits is not None and logits is not None:
            loss = loss + self._logits.against(logits, answers, cache, indices, epoch)
        return loss

    def _inside_loss(self, ours: Inside, theirs: Shown, aligned: AlignedBatch) -> paddle.Tensor:
        """Weighted losses of relations and hidden states, summed over rows."""
        ours.refuse_lost_gradients()
        our_units, their_units, mask = map(
            paddle.to_tensor, (aligned.ours, aligned.theirs, aligned.mask)
        )
        states, loss = self._states, paddle.zeros([])
        if states.relation_weight:
            for mine, other in zip(ours.related, theirs.related, strict=True):
                mine, other = paddle.matmul(our_units, mine), paddle.matmul(their_units, other)
                each = relation_divergence(mine, other, mask, states.relation_heads)
                loss = loss + paddle.sum(each) * (states.relation_weight / len(RELATED))
        if states.hidden_weight:
            pairs = zip(ours.states, theirs.states, strict=True)
            for project, (mine, other) in zip(self._projections, pairs, strict=True):
                mine, other = paddle.matmul(our_units, mine), paddle.matmul(their_units, other)
                each = state_error(project(mine), other, mask)
                loss = loss + paddle.sum(each) * (states.hidden_weight / len(self._projections))
        return loss


def _refuse_odd_heads(states: StatesSection, widths: tuple[int, int]) -> None:
    num_heads = states.relation_heads
    if states.relation_weight and any(width % num_heads for width in widths):
        fitting = [n for n in range(1, min(widths) + 1) if not any(w % n for w in widths)]
        raise ConfigError(
            f"relation_heads={num_heads} does not divide the widths {widths[0]} (student) and "
            f"{widths[1]} (teacher); choose one of {fitting}"
        )


def _projection(width: int, teacher_width: int) -> nn.Linear:
    """A linear map of states that begins by undoing the copies of ``tiny_start.widen``."""
    layer = nn.Linear(width, teacher_width)
    unit = np.arange(width) % teacher_width
    matrix = np.zeros((width, teacher_width), np.float32)
    matrix[np.arange(width), unit] = 1 / np.bincount(unit, minlength=teacher_width)[unit]
    layer.weight.set_value(matrix)
    return layer
