"""Every error that a user of the library may want to catch.

    ErnieRayError
      + ConfigError (ValueError)     a recipe or an option is wrong; names the key and the remedy
      + DataError (ValueError)       rows or columns are not what the schema says
      + SourceError                  pretrained weights or a tokenizer cannot be found or read
      + DivergenceError              the loss of a training is no number any more
      + CheckpointError              a checkpoint is missing, partial or of another shape
      + ModelDirError                a model directory fails its manifest or its parity check
      + RequestError (ValueError)    one request cannot be served
      |   + MalformedRequestError    the body is not what the route takes
      |   + EmptyTextError           a text has no characters besides white space
      |   + TextTooLongError         a text has more tokens or characters than the limit
      |   + RequestTooLargeError     the body or the number of texts passes its limit
      |   + UnknownModelError        the named model is not served here
      |   + UnsupportedTaskError     the model cannot answer this route (no head, no vectors)
      |   + SlowRequestError         the body did not arrive in time
      |   + UnauthorizedError        no API key, or not one of ours
      + OverloadedError              the queue is full; try later
      |   + UnavailableError         the replica is shutting down or its model is not there yet
      + DeadlineError                the answer was not ready in the time that the request had
      + InferenceError               the engine failed or gave NaN or infinite values

Messages say what to change. Status codes of HTTP are not known here.
"""

from __future__ import annotations

from typing import ClassVar


class ErnieRayError(Exception):
    """Base of all errors that the library raises on purpose."""

    recurs: ClassVar[bool] = False
    """The same recipe gives it every time. Of others a disk or a network may be the cause."""


class ConfigError(ErnieRayError, ValueError):
    """A recipe or an option is wrong."""

    recurs = True


class DataError(ErnieRayError, ValueError):
    """Rows or columns are not what the task's schema says."""


class SourceError(ErnieRayError):
    """Pretrained weights or a tokenizer cannot be found or read."""


class DivergenceError(ErnieRayError):
    """The loss of a training is no number any more; only other settings can help."""

    recurs = True


class CheckpointError(ErnieRayError):
    """A checkpoint is missing, partial or of another shape."""


class ModelDirError(ErnieRayError):
    """A model directory fails its manifest or its parity check."""


class RequestError(ErnieRayError, ValueError):
    """One request cannot be served; the others are not concerned."""


class MalformedRequestError(RequestError):
    """The body is not what the route takes."""


class EmptyTextError(RequestError):
    """A text has no characters besides white space."""


class TextTooLongError(RequestError):
    """A text has more tokens or characters than the limit."""


class RequestTooLargeError(RequestError):
    """The body or the number of texts passes its limit."""


class UnknownModelError(RequestError):
    """The named model is not served here."""


class UnsupportedTaskError(RequestError):
    """The model cannot answer this route."""


class SlowRequestError(RequestError):
    """The body did not arrive in time."""


class UnauthorizedError(RequestError):
    """The request carries no API key, or not one of the service's."""


class OverloadedError(ErnieRayError):
    """The queue is full; try again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(OverloadedError):
    """The replica is shutting down, or the model's replica cannot be reached; try again."""


class DeadlineError(ErnieRayError):
    """The answer was not ready in the time that the request had."""


class InferenceError(ErnieRayError):
    """The engine failed, or gave NaN or infinite values."""
