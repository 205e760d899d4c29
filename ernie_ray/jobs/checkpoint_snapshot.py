"""What Ray Train is told of a run's checkpoints."""

from __future__ import annotations

SCORE = "score"
"""What Ray Train orders checkpoints by: more is better, whichever metric decides."""


def reported(step: float, score: float | None) -> dict[str, float]:
    """What Ray Train is told of a checkpoint; finite, as its list knows no other numbers."""
    return {"step": step} if score is None else {"step": step, SCORE: score}
