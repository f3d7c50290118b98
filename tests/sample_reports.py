"""Small reports for the tests of report, tables and comparison."""

import numpy as np

from ovrcoat.evaluation.metrics.mean_iou import MeanIou, tallies_from_cells
from ovrcoat.evaluation.metrics.panoptic_quality import PanopticQuality, Tally
from ovrcoat.evaluation.reports.report import (
    DatasetInfo,
    ErrorAnalysisScores,
    EvaluationReport,
    ImageTallies,
    InstanceScores,
    ModelInfo,
    PanopticScores,
    RunReport,
    SemanticScores,
    trust_key,
)
from ovrcoat.vocabulary import Category, Vocabulary

CATEGORIES = (
    Category(("cat", "kitty"), is_thing=True, id=1),
    Category(("dog",), is_thing=True, id=7),
    Category(("sky",), is_thing=False, id=40),
    Category(("road",), is_thing=False, id=41),
)
SEEN = (1, 40)
IDS = [category.id for category in CATEGORIES]


def random_report(seed: int, *, images: int = 12, trusts: tuple[float, ...] = (0.0, 0.5)) -> EvaluationReport:
    """Random tallies, and the runs' numbers computed from them by the metrics themselves."""
    generator = np.random.default_rng(seed)
    panoptic = [{trust_key(trust): _counts(generator) for trust in trusts} for _ in range(images)]
    cells = [{trust_key(trust): _cells(generator) for trust in trusts} for _ in range(images)]
    return EvaluationReport(
        model=ModelInfo(name="tiny", hash="0123456789abcdef", provenance={"source": "random"}),
        data=DatasetInfo(name="toys", split="val", root="toys", images=images, fingerprint="feed" * 4),
        protocol={"short_side": 64, "background": "none"},
        vocabulary=Vocabulary(CATEGORIES, name="toys").to_dict(),
        seen_category_ids=SEEN,
        runs=tuple(_run(trust, panoptic, cells) for trust in trusts),
        images=tuple(
            ImageTallies(
                image_id=f"image {number}",
                panoptic={key: counts for key, counts in panoptic[number].items()},
                semantic={
                    key: tallies_from_cells(one, category_ids=IDS) for key, one in cells[number].items()
                },
            )
            for number in range(images)
        ),
        timing={"seconds": 1.5},
    )


def _run(trust, panoptic, cells):
    key = trust_key(trust)
    quality, iou = PanopticQuality(), MeanIou([category.name for category in CATEGORIES])
    for counts in panoptic:
        quality.add({id: Tally(*one) for id, one in counts[key].items()})
    for one in cells:
        iou.add_cells(one[key])
    return RunReport(
        trust=trust,
        panoptic=PanopticScores.model_validate(quality.report(CATEGORIES, SEEN)),
        semantic=SemanticScores.model_validate(iou.report()),
        instance=InstanceScores.model_validate(
            {
                "stats": {"AP": 12.5 + trust, "AP50": 25.0, "AP75": None},
                "per_class": {"1": {"name": "cat", "AP": 12.5, "AP50": 25.0}},
            }
        ),
        error_analysis=ErrorAnalysisScores.model_validate(
            {
                "rows": [
                    {"outcome": "found", "meaning": "matched", "counts": {"All": 3, "Seen": 0}},
                    {"outcome": "rejected as void", "meaning": "rejected", "counts": {"All": 1, "Seen": 0}},
                ],
                "segments": {"All": 4, "Seen": 0},
                "per_category": {"1": {"found": 3, "rejected as void": 1}},
            }
        ),
    )


def _counts(generator):
    """Tallies of some of the categories; "road" is never there."""
    tallies = {}
    for id in IDS[:3]:
        tp, fp, fn = generator.integers(0, 3, size=3).tolist()
        if tp + fp + fn:
            tallies[id] = (tp, fp, fn, float(generator.uniform(0.5, 1, tp).sum()))
    return tallies


def _cells(generator):
    true, found = generator.integers(0, 3, size=(2, 6))
    pixels = generator.integers(1, 50, size=6)
    return tuple(zip(true.tolist(), found.tolist(), pixels.tolist(), strict=True))
