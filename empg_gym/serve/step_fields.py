"""What every protocol with typed answers says about an episode after a reset or a step."""

from __future__ import annotations

from pydantic import BaseModel, Field


class StepFields(BaseModel):
    """The entries of `info` that all environments have, and whether the episode has ended."""

    task: str = Field(description="Id of the task")
    instruction: str = Field(description="The goal of the task")
    admissible_actions: list[str] = Field(description="Actions that are possible now, or templates of them")
    valid_action: bool = Field(description="Whether the last action could be carried out")
    success: bool = Field(description="Whether the task is solved")
    score: float = Field(description="Score of the episode so far, 0 to 1")
    step: int = Field(description="Number of actions so far")
    terminated: bool = Field(description="Whether the task has ended")
    truncated: bool = Field(description="Whether the step limit was reached")


IN_INFO = tuple(name for name in StepFields.model_fields if name not in ("terminated", "truncated"))
"""The fields that are entries of `info`."""
