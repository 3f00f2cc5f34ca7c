"""Where a run is: everything beside tensors that a step depends on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class LossSums(BaseModel):
    """Sums of losses and the tokens they are of; the loss per token is a quotient, so windows of any size compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_sum: float = 0.0
    text_tokens: float = 0.0
    mel_sum: float = 0.0
    mel_tokens: float = 0.0

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(
            text_sum=self.text_sum + other.text_sum,
            text_tokens=self.text_tokens + other.text_tokens,
            mel_sum=self.mel_sum + other.mel_sum,
            mel_tokens=self.mel_tokens + other.mel_tokens,
        )


class Position(BaseModel):
    """``epoch`` epochs are complete, and ``batches`` of the next one's plan; ``step`` updates were asked for in all.

    ``window`` sums the losses since the last logged step. ``skipped`` updates were left out because they were not
    finite, the last ``skipped_in_a_row`` of them one after another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: Count = 0
    batches: Count = 0
    step: Count = 0
    window: LossSums = LossSums()
    skipped: Count = 0
    skipped_in_a_row: Count = 0
