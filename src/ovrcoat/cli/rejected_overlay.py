"""Results whose overlay shows what was rejected (`segment --show-rejected`)."""

from dataclasses import dataclass, fields

from PIL import Image

from ovrcoat.results import PanopticResult
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.explanation import Explanation
from ovrcoat.segmentation.prompt import SegmentationPrompt


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ResultWithRejected(PanopticResult):
    """A panoptic result that is drawn together with its rejected masks.

    Attributes:
        explanation: draws the overlay.
    """

    explanation: Explanation

    def draw(self, *, font_size: int | None = None, **_: object) -> Image.Image:
        """Draw the explanation; other options of `PanopticResult.draw` have no effect."""
        return self.explanation.draw(font_size=font_size)


def predict_with_rejected(encoded: EncodedImage, prompt: SegmentationPrompt) -> ResultWithRejected:
    """Return what `EncodedImage.predict` returns, but with rejected masks in its drawing."""
    explanation = encoded.predict_explained(prompt)
    values = {field.name: getattr(explanation.result, field.name) for field in fields(explanation.result)}
    return ResultWithRejected(**values, explanation=explanation)
