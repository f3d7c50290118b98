"""The work of the API: what runs in the inference worker, between a validated request and its response."""

import time
from dataclasses import dataclass, replace

from ovrcoat.data.images import LoadedImage
from ovrcoat.results.exports.table import choose_formats
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.server.image_store import StoredImage, memory_of
from ovrcoat.server.label_files import label_zip
from ovrcoat.server.labeling import PredictRequest, predict_answer
from ovrcoat.server.prompts import encode_prompt
from ovrcoat.server.responses import explain_answer, overlay_png, segment_answer
from ovrcoat.server.schemas import ExplainRequest, ExportRequest, SegmentRequest
from ovrcoat.server.settings import ServerSettings
from ovrcoat.server.uploads import decode_image
from ovrcoat.server.worker import Cancellation


@dataclass(frozen=True, slots=True)
class SegmentationService:
    """Computes responses with one segmenter; may be used from several threads.

    Attributes:
        segmenter: the model.
        settings: limits of requests.
    """

    segmenter: Segmenter
    settings: ServerSettings

    def encode(self, content: bytes, cancellation: Cancellation) -> StoredImage:
        """Decode and encode an image file."""
        loaded = decode_image(content, self.settings)
        cancellation.check()
        encoded = self._encode(loaded)
        return StoredImage(encoded, loaded.notes, memory_of(encoded))

    def segment(self, image: StoredImage, request: SegmentRequest) -> bytes:
        """Return the response of a segmentation as JSON."""
        start = time.perf_counter()
        return self._segment(image.encoded, image.notes, request, start=start)

    def segment_upload(self, content: bytes, request: SegmentRequest, cancellation: Cancellation) -> bytes:
        """Decode, encode and segment an image file; return the response as JSON."""
        start = time.perf_counter()
        loaded = decode_image(content, self.settings)
        cancellation.check()
        encoded = self._encode(loaded)
        cancellation.check()
        return self._segment(encoded, loaded.notes, request, start=start)

    def overlay(self, image: StoredImage, request: SegmentRequest) -> bytes:
        """Return the drawing of a segmentation as PNG."""
        prompt = encode_prompt(self.segmenter, request, self.settings)
        return overlay_png(image.encoded.predict(prompt))

    def export(self, image: StoredImage, request: ExportRequest) -> bytes:
        """Return the label files of a segmentation as a zip file."""
        prompt = encode_prompt(self.segmenter, request, self.settings)
        choose_formats(request.formats, task=prompt.task, categories=prompt.vocabulary.categories)
        return label_zip(image.encoded.predict(prompt), request.formats)

    def explain(self, image: StoredImage, request: ExplainRequest) -> bytes:
        """Return the response of an explanation as JSON."""
        start = time.perf_counter()
        prompt = encode_prompt(self.segmenter, request, self.settings)
        explanation = image.encoded.predict_explained(prompt)
        result = segment_answer(
            explanation.result,
            prompt,
            masks="none",
            notes=image.notes,
            seconds=time.perf_counter() - start,
        )
        return explain_answer(explanation, result, point=request.point).model_dump_json().encode()

    def predict(self, body: PredictRequest, cancellation: Cancellation) -> bytes:
        """Decode, encode and segment the image of an X-AnyLabeling request; return the response as JSON."""
        loaded = decode_image(body.image_bytes(), self.settings)
        cancellation.check()
        encoded = self._encode(loaded)
        cancellation.check()
        result = encoded.predict(encode_prompt(self.segmenter, body.segment_request(), self.settings))
        return predict_answer(result, body.params).model_dump_json().encode()

    def _encode(self, loaded: LoadedImage) -> EncodedImage:
        # without the notes, which would be issued as warnings: a response has them among its issues
        return self.segmenter.encode(replace(loaded, notes=()))

    def _segment(
        self, encoded: EncodedImage, notes: tuple[str, ...], request: SegmentRequest, *, start: float
    ) -> bytes:
        prompt = encode_prompt(self.segmenter, request, self.settings)
        result = encoded.predict(prompt)
        answer = segment_answer(
            result, prompt, masks=request.masks, notes=notes, seconds=time.perf_counter() - start
        )
        return answer.model_dump_json(exclude_none=True).encode()
