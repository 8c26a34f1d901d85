"""What an audio job is: pairs of reference and recording, with the limits that they are held to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audio.thresholds import Thresholds

MOST_PAIRS = 5000
FileName = Annotated[
    str, Field(min_length=1, max_length=100, description="id of an uploaded file, or a reference's name")
]

# `polqa` is the one that the lab file names: its settings hold a command, which no caller of the API may choose.
Other = Literal["pesq", "pesq:nb", "visqol", "polqa"]
_NAMES = {"pesq": "pesq_wb", "pesq:nb": "pesq_nb", "visqol": "visqol", "polqa": "polqa"}
NO_POLQA = "this lab has no POLQA; where it has a licence, name the settings in the lab file: `polqa: FILE.yaml`"


def require_asked(thresholds: Thresholds, others: Collection[Other]) -> None:
    """Raises ValueError when a limit names another program that is not asked."""
    asked = {_NAMES[each] for each in others}
    for name in thresholds.others:
        if name not in asked:
            raise ValueError(
                f"thresholds.others names {name}; the programs asked, in others: {sorted(asked) or 'none'}"
            )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AudioPair(_Part):
    """One recording and what it should sound like. `own_said` and `own_heard`: the other direction, to find echo."""

    reference: FileName
    recording: FileName
    name: Annotated[str, Field(max_length=200)] = ""
    own_said: FileName | None = None
    own_heard: FileName | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> AudioPair:
        if (self.own_said is None) != (self.own_heard is None):
            raise ValueError("own_said and own_heard go together: echo is looked for in the second, of the first")
        return self

    def names(self) -> dict[str, str]:
        """The files that the pair names, by role."""
        roles = ("reference", "recording", "own_said", "own_heard")
        return {role: getattr(self, role) for role in roles if getattr(self, role) is not None}


class AudioJob(_Part):
    """Pairs to score. `sample_rate`: at what rate, the reference's unless given. `report`: which get a page.

    `others`: other programs to ask as well, whose scores stand beside ours.
    """

    pairs: Annotated[tuple[AudioPair, ...], Field(min_length=1, max_length=MOST_PAIRS)]
    name: Annotated[str, Field(max_length=200)] = ""
    thresholds: Thresholds = Thresholds()
    sample_rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] | None = None
    report: Literal["all", "failed", "none"] = "all"
    others: tuple[Other, ...] = ()

    @model_validator(mode="after")
    def _echo_can_be_judged(self) -> AudioJob:
        if self.thresholds.min_echo_return_loss_db is not None and any(pair.own_said is None for pair in self.pairs):
            raise ValueError("thresholds.min_echo_return_loss_db needs own_said and own_heard in every pair")
        return self

    @model_validator(mode="after")
    def _others_can_be_judged(self) -> AudioJob:
        require_asked(self.thresholds, self.others)
        return self
