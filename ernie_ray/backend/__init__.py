"""Ray Train for Paddle: ``PaddleTrainer`` and its ``PaddleConfig``."""

from ernie_ray.backend.failure_policy import own_error
from ernie_ray.backend.rendezvous import PaddleConfig
from ernie_ray.backend.trainer import PaddleTrainer

__all__ = ["PaddleConfig", "PaddleTrainer", "own_error"]
