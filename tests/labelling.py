"""What tests of labelling ask of a teacher, and what they read of its output."""

from pathlib import Path

import numpy as np
import pyarrow.parquet

from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.jobs.label import label
from ernie_ray.jobs.label_request import LabelRequest
from ernie_ray.jobs.labelled_rows import ROWS
from ernie_ray.jobs.storage import Storage
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import RowSchema

FP32 = TeacherSettings(engine="onnxruntime", precision="fp32")
SCHEMA = RowSchema(label="label", is_label_optional=True, copy="copy")


def request_for(teacher, rows, **changes):
    settings = {"settings": FP32, "rows_per_chunk": 64, **changes}
    return LabelRequest(teacher, find_files(rows), SCHEMA, **settings)


def run(request, folder, name="out", **options):
    manifest = label(request, name, storage=Storage(str(folder)), **options)
    return manifest, pyarrow.parquet.read_table(folder / name / ROWS)


def logits_of(table):
    return np.stack(table["teacher_logits"].to_numpy())


def parts_in(folder: Path) -> list[Path]:
    return list(folder.glob(".out.parts-*/part-*.parquet"))
