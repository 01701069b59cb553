"""The number of users over time, as locust asks for it once a second."""

from __future__ import annotations

import math

from locust import LoadTestShape

from vitrine_client.load.stages import Stages


class Staged(LoadTestShape):
    """Stages of a closed loop; of an open one, whose users are only clients, nothing but the end."""

    def __init__(self, stages: Stages, users: int | None) -> None:
        """`users` None: the stages' levels are users."""
        super().__init__()
        self._stages, self._users = stages, users

    def tick(self) -> tuple[int, float] | None:
        second = self.get_run_time()
        if second >= self._stages.seconds:
            return None
        users = self._users or math.ceil(self._stages.level(second))
        # At once: a stage that is slow to begin is a ramp.
        return users, max(1, users)
