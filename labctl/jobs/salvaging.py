"""Makes a job that breaks the format one that keeps it, so that what else is wrong can be told in the same breath."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from labctl.jobs.model import Job, Role, Step

PLACEHOLDER = "placeholder.step"  # stands where a step was that cannot be understood
ANY_KIND = "placeholder"  # and where a role was


def salvage(value: Any) -> Job | None:
    """The job without its parts that break the format; every step keeps its place. None where nothing is left."""
    if not isinstance(value, dict) or not isinstance(value.get("lanes"), dict):
        return None
    kept = {key: each for key, each in value.items() if key in Job.model_fields}
    kept["lanes"] = {name: _lane(lane) for name, lane in value["lanes"].items()}
    named = kept["roles"] if isinstance(kept.get("roles"), dict) and kept["roles"] else dict.fromkeys(kept["lanes"])
    kept["roles"] = {name: _role(role) for name, role in named.items()}
    kept["name"] = "job"
    for _ in range(2):
        try:
            return Job.model_validate(kept)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                where = error["loc"]
                if where and where[0] not in ("name", "roles", "lanes"):
                    kept.pop(str(where[0]), None)
                elif len(where) > 1:
                    kept[str(where[0])].pop(where[1], None)
    return None


def _lane(lane: Any) -> dict[str, Any]:
    lane = lane if isinstance(lane, dict) else {}
    kept: dict[str, Any] = {}
    for part in ("steps", "always"):
        steps = lane.get(part)
        if isinstance(steps, list):
            kept[part] = [_step(each) for each in steps]
    if not kept.get("steps"):
        kept["steps"] = [{"uses": PLACEHOLDER}]
    if isinstance(lane.get("role"), str):
        kept["role"] = lane["role"]
    return kept


def _role(role: Any) -> dict[str, Any]:
    kept: dict[str, Any] = dict(role) if isinstance(role, dict) else {}
    for _ in range(2):
        try:
            Role.model_validate(kept)
            return kept
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                if error["loc"]:
                    kept.pop(str(error["loc"][0]), None)
    return {"kind": ANY_KIND}


def _step(step: Any) -> dict[str, Any]:
    kept: dict[str, Any] = dict(step) if isinstance(step, dict) else {}
    for _ in range(2):
        try:
            Step.model_validate(kept)
            return kept
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                if error["loc"]:
                    kept.pop(str(error["loc"][0]), None)
    return {"uses": PLACEHOLDER}
