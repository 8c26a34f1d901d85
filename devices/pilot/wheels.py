"""The wheels' way as the page of another maker's client shows it, carried on where the robot counts anew. Pure."""

from __future__ import annotations

from drivers.types import BaseGeometry

# What a page shows is as old as its robot's network makes it: so much motion may come at once, seconds.
_SLACK_S = 0.5
# Wheels pushed, or running downhill, turn somewhat faster than they are asked to.
_FASTER = 1.3
# A robot that counts anew mostly begins at nothing: a step to there, within so many metres, has to be a likely one.
_NOTHING_M, _SLACK_NEAR_NOTHING_S = 0.02, 0.1


class ShownWheels:
    """Left and right wheel in metres, carried on over steps that no wheel can have made.

    `speed_m_s`, `turn_rad_s`: the most that the client's inputs ask for. Such a step (the robot's computer or its page
    began to count anew) is left out: what the wheels did meanwhile is not known. `breaks` counts them, `last_break`
    tells of the latest.
    """

    def __init__(self, geometry: BaseGeometry, speed_m_s: float, turn_rad_s: float) -> None:
        self._fastest_m_s = _FASTER * (speed_m_s + turn_rad_s * geometry.wheel_base_m / 2)
        self._last: tuple[float, float, float] | None = None
        self._way = (0.0, 0.0)
        self.breaks = 0
        self.last_break = ""

    def update(self, left: float, right: float, time: float) -> tuple[float, float]:
        """The way of each wheel since the first reading, after one of `left` and `right` metres at `time` seconds."""
        if self._last is not None:
            last_left, last_right, last_time = self._last
            step_left, step_right, gap = left - last_left, right - last_right, max(0.0, time - last_time)
            slack_s = _SLACK_S if max(abs(left), abs(right)) > _NOTHING_M else _SLACK_NEAR_NOTHING_S
            if max(abs(step_left), abs(step_right)) > self._fastest_m_s * (gap + slack_s):
                self.breaks += 1
                self.last_break = (
                    f"the wheels that the client's page shows jumped by {step_left:+.3f} and {step_right:+.3f} m in "
                    f"{gap:.2f} s, which no wheel does: its robot or the page began to count anew"
                )
            else:
                self._way = (self._way[0] + step_left, self._way[1] + step_right)
        self._last = (left, right, time)
        return self._way
