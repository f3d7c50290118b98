"""The learning rate over a run, as a factor of its peak."""

import math

from ovrcoat.training.config import ScheduleConfig

STEP_FACTOR = 0.1  # at each milestone (FC-CLIP's released configuration)


def rate_factor(step: int, schedule: ScheduleConfig) -> float:
    """Linear warm-up, then steps down by tens or a half cosine to zero; `step` counts from 0."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.decay == "steps":
        passed = sum(step >= round(milestone * schedule.steps) for milestone in schedule.milestones)
        return STEP_FACTOR**passed
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
