"""The guard's configuration file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel, ValidationError

from drivers.guard import Footprint, GuardSettings, Limits

SETTINGS = GuardSettings(
    base_url="/dev/ttyUSB0",
    lidar_url="tcp://192.0.2.1:10940",
    token="secret",
    geofence=((0.0, 0.0), (4.0, 0.0), (4.0, 3.0)),
    dock_zones=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),),
)


def test_what_is_written_is_read_back() -> None:
    assert GuardSettings.from_json(SETTINGS.to_json()) == SETTINGS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"base_url": "a", "lidar_url": "b", "token": "t", "sped": 1}', "unknown key 'sped'"),
        ('{"base_url": "a", "lidar_url": "b", "token": "t", "limits": {"linear_m_s": 40}}', "limits: linear_m_s is 40"),
        (
            '{"base_url": "a", "lidar_url": "b", "token": "t", "limits": {"linear_m_s": "1"}}',
            "limits.linear_m_s must be",
        ),
        ('{"base_url": "a", "lidar_url": "b", "token": "t", "limits": {"linear_m_s": NaN}}', "must be finite"),
        ('{"base_url": "a", "lidar_url": "b", "token": "t", "geofence": [[0, 0], [1, 1]]}', "at least three points"),
        ('{"base_url": "a", "lidar_url": "b", "token": "t", "geofence": [[0], [1, 1]]}', r"geofence\[0\] must have 2"),
        ('{"base_url": "a", "lidar_url": "b"}', "needs a token"),
        ('{"base_url": "a", "lidar_url": "b", "listen": ["http://x"]}', "must start with unix"),
        ('{"lidar_url": "b", "token": "t"}', "base_url"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_where(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        GuardSettings.from_json(text)


def test_a_fast_clock_is_only_for_simulated_bases() -> None:
    with pytest.raises(ValueError, match="simulated base only"):
        replace(SETTINGS, time_scale=3.0)
    assert replace(SETTINGS, time_scale=3.0, simulated=True).time_scale == 3.0


@pytest.mark.parametrize("corners", [((0.0, 0.0), (1.0, 0.0)), ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)), ()])
def test_a_footprint_must_be_a_disc_or_convex_and_counter_clockwise(corners: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="corner"):
        Footprint(corners=corners)


def test_reversing_unseen_cannot_be_set_faster_than_a_tenth_of_a_metre_a_second() -> None:
    with pytest.raises(ValueError, match="unseen_reverse_m_s"):
        Limits(unseen_reverse_m_s=0.2)


class LabFile(BaseModel):
    guard: GuardSettings


def test_a_lab_file_embeds_the_settings_and_refuses_unknown_keys() -> None:
    told = {"base_url": "a", "lidar_url": "b", "token": "t", "limits": {"linear_m_s": 0.2}}
    assert LabFile.model_validate({"guard": told}).guard.limits.linear_m_s == 0.2
    with pytest.raises(ValidationError, match="speed"):
        LabFile.model_validate({"guard": {**told, "limits": {"speed": 1}}})
