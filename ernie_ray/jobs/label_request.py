"""What a labelling run is asked for: plain values that cross process borders."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.jobs.labelled_rows import part_schema
from ernie_ray.jobs.storage import Location
from ernie_ray.modeldir import Manifest
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


def schema_of(request: LabelRequest, teacher: Manifest) -> pa.Schema:
    """Columns of the labelled rows that a request asks for."""
    return part_schema(
        teacher,
        has_pair=request.schema.text_pair is not None,
        has_label=request.schema.label is not None,
        has_vectors=request.has_vectors,
    )
