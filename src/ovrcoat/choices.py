"""Types of the options that users choose: task, trust, dtype and others. Imports little: fast to start."""

from typing import Literal

Task = Literal["panoptic", "semantic", "instance"]
TASKS: tuple[Task, ...] = ("panoptic", "semantic", "instance")
DtypeName = Literal["auto", "float32", "bfloat16"]
Number = float | int  # both are listed: the tests' run-time type check does not accept an int as a float
Trust = Number | Literal["adaptive"]  # COAT's γ as callers pass it
Arrangement = Literal["panoptic", "semantic"]  # the two forms of MAFT+'s transfer (`model/text_transfer.py`)
ClassifyBy = Literal[
    "pooling", "crops", "masked-crops"
]  # what CLIP embeds of a mask: pooled features, or a crop
