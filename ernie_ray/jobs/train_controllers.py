"""End a Ray Train run from outside, as Ctrl-C ends it from inside, and free its resources.

Whoever kills the process that started a run leaves the run's placement group behind: Ray's own
cleaner asks the state API, which a Ray without a dashboard does not have.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

from ernie_ray.jobs.progress import start_beside_driver

_ABORT_TIMEOUT_S = 30.0


class _Controllers:
    """Knows each run's controller and placement group; an actor that dies with the driver."""

    def __init__(self) -> None:
        self._controllers: dict[str, Any] = {}
        self._groups: dict[str, PlacementGroup] = {}

    def put(self, run: str, controller: Any) -> None:
        self._controllers[run] = controller

    def put_group(self, run: str, group: PlacementGroup) -> None:
        self._groups[run] = group

    def take(self, run: str) -> tuple[Any, PlacementGroup | None]:
        return self._controllers.pop(run, None), self._groups.pop(run, None)


class TrainControllers:
    """Made by the driver before any run starts."""

    def __init__(self) -> None:
        """Start the actor that runs report to."""
        self.name = f"ernie-ray-controllers-{uuid.uuid4().hex[:12]}"
        self._actor = start_beside_driver(_Controllers, self.name)

    def abort(self, run: str) -> None:
        """End a run's workers and give their resources back; nothing if it has not started."""
        controller, group = ray.get(self._actor.take.remote(run))
        if controller is not None:
            # Its last act is to end itself, so an answer comes only where it was over already.
            with suppress(RayActorError, GetTimeoutError):
                ray.get(controller.abort.remote(), timeout=_ABORT_TIMEOUT_S)
        if group is not None:
            # One that died with the process that started it has not given this back.
            remove_placement_group(group)


class ReportController(ControllerCallback, WorkerGroupCallback):
    """Makes a run known to ``TrainControllers``; goes into the run configuration's callbacks."""

    def __init__(self, name: str, run: str) -> None:
        """Remember where to report.

        Args:
            name: ``TrainControllers.name``.
            run: What the run is called there.
        """
        self._name = name
        self._run = run

    def after_controller_start(self, train_run_context: Any) -> None:
        """Report; called by Ray Train in the controller's process."""
        del train_run_context
        controller = ray.get_runtime_context().current_actor
        ray.get(ray.get_actor(self._name).put.remote(self._run, controller))

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Report what holds the workers' resources; called by Ray Train at each start of them.

        What is held by workers that are still being started, nobody outside is told.
        """
        group = worker_group.get_worker_group_state().placement_group_handle.placement_group
        ray.get(ray.get_actor(self._name).put_group.remote(self._run, group))
