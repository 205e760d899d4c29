"""Dynamic loss scaling, as in Micikevicius et al. 2018 (Mixed Precision Training).

The loss is multiplied so that small gradients do not vanish in fp16. A step whose gradients
overflow is left out and halves the factor; many good steps double it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

# As Paddle's and PyTorch's scalers.
_STEPS_UNTIL_GROWTH = 2000


class LossScale(BaseModel):
    """Factor of the loss; stands in every checkpoint, so that a resumed run goes on exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: float = Field(1.0, ge=1, description="Multiplies the loss.")
    num_good_steps: int = Field(0, ge=0, description="Steps since the factor changed.")

    def after(self, *, is_finite: bool) -> LossScale:
        """Take in whether the gradients of one more step were finite."""
        if not is_finite:
            return LossScale(factor=max(self.factor / 2, 1.0))
        if self.num_good_steps + 1 < _STEPS_UNTIL_GROWTH:
            return LossScale(factor=self.factor, num_good_steps=self.num_good_steps + 1)
        return LossScale(factor=self.factor * 2)
