"""Early stopping: how many evaluations ago the best one was."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Patience(BaseModel):
    """What is known after some evaluations; stands in every checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    best: float | None = Field(None, description="Highest score of the metric so far.")
    num_stale: int = Field(0, ge=0, description="Evaluations since then.")

    def after(self, value: float | None) -> Patience:
        """Take one more evaluation in; None: nothing was measured."""
        if value is None:
            return self
        if self.best is None or value > self.best:
            return Patience(best=value)
        return Patience(best=self.best, num_stale=self.num_stale + 1)
