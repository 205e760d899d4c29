"""The models of one service by name, and the one that answers if a request names none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ernie_ray.errors import ConfigError, UnknownModelError
from ernie_ray.serving.served_model import ServedModel


class Catalog:
    """Served models in order; the first is the default."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        """Collect models.

        Raises:
            ConfigError: There is none, or two have the same name.
        """
        self._models: dict[str, ServedModel] = {}
        for model in models:
            if model.name in self._models:
                raise ConfigError(
                    f'two models are called "{model.name}"; give one of them another name '
                    "(models[].name, or --name)"
                )
            self._models[model.name] = model
        if not self._models:
            raise ConfigError("a service needs at least one model directory")
        self._default = next(iter(self._models.values()))

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def pick(self, name: str | None) -> ServedModel:
        """The model that a request names, or the default.

        Raises:
            UnknownModelError: No model has that name; the message lists those served.
        """
        if name is None:
            return self._default
        model = self._models.get(name)
        if model is None:
            raise UnknownModelError(
                f'no model "{name[:100]}" is served here; choose one of: {", ".join(self._models)}'
            )
        return model
