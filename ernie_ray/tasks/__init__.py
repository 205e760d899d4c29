"""Task families: row schema, label encoding, decoding and metrics of each (numpy only)."""

from ernie_ray.tasks.family import TaskFamily, family_of
from ernie_ray.tasks.row_form import reads_pairs, refuse_other_form

__all__ = ["TaskFamily", "family_of", "reads_pairs", "refuse_other_form"]
