"""Learning rate schedule."""

import math

from ovrcoat.training.config import ScheduleConfig

MILESTONE_FACTOR = 0.1  # at each milestone (FC-CLIP's released configuration)


def learning_rate_factor(step: int, schedule: ScheduleConfig) -> float:
    """Return the learning rate of a step relative to its peak, 0 to 1.

    Linear warm-up, then either a drop to a tenth at each milestone or a half cosine to zero.

    Args:
        step: counts from 0.
        schedule: settings of the stage.
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.decay == "steps":
        passed = sum(step >= round(milestone * schedule.steps) for milestone in schedule.milestones)
        return MILESTONE_FACTOR**passed
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
