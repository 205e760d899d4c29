"""Entity F1 as conlleval and seqeval define it: right if type, start and end are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ernie_ray.tasks.tables import Tables, class_line

Entity = tuple[int, int, str]
"""Start, end, type."""


def entity_metrics(
    truth: Sequence[Sequence[Entity]], guess: Sequence[Sequence[Entity]]
) -> dict[str, float]:
    """Measure the entities found in some texts against the true ones.

    Args:
        truth: True entities of each text.
        guess: Entities found in each text.

    Returns:
        ``entity_f1``, ``precision`` and ``recall`` over all entities, and ``macro_f1``: the mean
        F1 of the types that occur in either. A ratio over nothing is 0.
    """
    wanted, found, right = _counts(truth, guess)
    num_right = right.total()
    kinds = wanted | found
    per_kind = [_f1(right[kind], wanted[kind], found[kind]) for kind in kinds]
    return {
        "entity_f1": _f1(num_right, wanted.total(), found.total()),
        "precision": num_right / max(found.total(), 1),
        "recall": num_right / max(wanted.total(), 1),
        "macro_f1": sum(per_kind) / max(len(per_kind), 1),
    }


def entity_tables(
    kinds: Sequence[str], truth: Sequence[Sequence[Entity]], guess: Sequence[Sequence[Entity]]
) -> Tables:
    """Give each type of entity its precision, recall and F1."""
    wanted, found, right = _counts(truth, guess)
    return Tables(tuple(class_line(k, right[k], wanted[k], found[k]) for k in kinds))


def _counts(
    truth: Sequence[Sequence[Entity]], guess: Sequence[Sequence[Entity]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Per type: true entities, found ones, and those that are both."""
    wanted, found, right = Counter[str](), Counter[str](), Counter[str]()
    for expected, given in zip(truth, guess, strict=True):
        wanted.update(kind for _, _, kind in set(expected))
        found.update(kind for _, _, kind in set(given))
        right.update(kind for _, _, kind in set(expected) & set(given))
    return wanted, found, right


def _f1(right: int, wanted: int, found: int) -> float:
    return 2 * right / max(wanted + found, 1)
