"""What a labelling run is asked for: plain values that cross process borders."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.errors import ConfigError
from ernie_ray.jobs.labelled_rows import part_schema
from ernie_ray.jobs.storage import Location
from ernie_ray.modeldir import ClassificationSpec, Manifest
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import OnBad


@dataclass(frozen=True)
class Selection:
    """Which rows are kept; those with a label always are, unless they are augmented copies.

    The label of a copy may no longer hold, so copies are chosen as rows without one.

    Attributes:
        min_confidence: Smallest probability of the teacher's first choice, or, with independent
            labels, of its least certain answer; 0: any.
        balance: Of all others keep equally many of each class that the teacher found; not with
            independent labels.
        seed: Draws the rows of the larger classes.
    """

    min_confidence: float = 0.0
    balance: bool = False
    seed: int = 42


@dataclass(frozen=True)
class LabelRequest:
    """Everything that decides what comes out.

    Attributes:
        teacher: Model directory: absolute path (on a cluster, one that all nodes see) or URI.
        files: The rows, read in this order.
        schema: Their columns; a label column may be there in some rows only.
        settings: How the teacher is run.
        selection: Which rows are kept.
        has_vectors: Give each row the teacher's vector, too.
        on_bad: Stop at a bad row, or skip and list it.
        rows_per_chunk: Rows that are labelled and put in place together, and lost together when
            the run is killed.
    """

    teacher: Location
    files: tuple[DataFile, ...]
    schema: RowSchema
    settings: TeacherSettings = field(default_factory=TeacherSettings)
    selection: Selection = field(default_factory=Selection)
    has_vectors: bool = False
    on_bad: OnBad = "error"
    rows_per_chunk: int = 512


def refuse_unfit(selection: Selection, teacher: Manifest, name: Location) -> None:
    """Refuse a teacher that cannot label rows, or not choose among them so.

    Args:
        selection: Which rows are to be kept.
        teacher: Who is to label them.
        name: Its model directory, as errors name it.

    Raises:
        ConfigError: It has not one answer for each text, or none to choose by.
    """
    task = teacher.task
    if task.is_per_token:
        raise ConfigError(
            f"{name}: the answers of a {task.family} model are of tokens; label takes "
            "a teacher with one answer for each text: of classes or of pairs"
        )
    if task.num_outputs == 1 and (selection.min_confidence or selection.balance):
        raise ConfigError(
            f"{name}: the teacher answers with a number, so no row is of a class or "
            "surer than another; leave min_confidence and balance out"
        )
    if selection.balance and isinstance(task, ClassificationSpec) and task.multi_label:
        raise ConfigError(
            f"{name}: the teacher gives a text any number of its labels, so no row is "
            "of one class to balance; leave balance out"
        )


def schema_of(request: LabelRequest, teacher: Manifest) -> pa.Schema:
    """Columns of the labelled rows that a request asks for."""
    return part_schema(
        teacher,
        has_pair=request.schema.text_pair is not None,
        has_label=request.schema.label is not None,
        has_vectors=request.has_vectors,
    )
