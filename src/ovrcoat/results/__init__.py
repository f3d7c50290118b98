"""Results: segments and maps of one image, drawn or written to files."""

from ovrcoat.results.instance import InstanceResult
from ovrcoat.results.panoptic import PanopticResult
from ovrcoat.results.segment import Segment
from ovrcoat.results.semantic import SemanticResult

__all__ = ["InstanceResult", "PanopticResult", "Segment", "SemanticResult"]
