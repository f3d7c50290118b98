"""What the readers of polygons share: values to polygons, and the issues that labels of other tools have."""

from collections import Counter

import numpy as np

from ovrcoat.data.instance_dataset import Polygon
from ovrcoat.errors import DatasetError
from ovrcoat.formats.polygons import MIN_POINTS
from ovrcoat.issues import IssueList, Severity

MAX_COORDINATE = 1e6  # pixels; polygons may leave the image, but not by this much


def read_polygon(values: object) -> Polygon | None:
    """Return a polygon from [x, y, x, y, ...]; None if it has fewer than 3 points or other values."""
    if not isinstance(values, list) or len(values) < 2 * MIN_POINTS or len(values) % 2:
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if numbers.ndim != 1 or not bool((np.abs(numbers) < MAX_COORDINATE).all()):  # NaN is not less
        return None
    return numbers.reshape(-1, 2)


def report_box(issues: IssueList, example: str) -> None:
    """Report an object that has a box but no mask."""
    message = "objects have only a box and no mask, so they are left out; label polygons or masks"
    issues.add("box-without-mask", message, example=example, severity="warning")


def report_unknown_labels(issues: IssueList, counts: Counter[str], *, severity: Severity) -> None:
    """Report labels that are not in the list of categories, with their number of objects."""
    for label, count in counts.most_common():
        message = "labels are not in the list of categories; add them to it, or correct them"
        example = f"{label}: {count} segment{'s' if count != 1 else ''}"
        issues.add("label-unknown", message, example=example, severity=severity)


def raise_without_masks(issues: IssueList, location: str) -> None:
    """Raise because nothing can be used.

    Raises:
        DatasetError: Always; the message lists the reasons.
    """
    reasons = "; ".join(str(issue) for issue in issues) or "there are no annotations"
    raise DatasetError(f"{location}: there is no object with a mask to use ({reasons})")
