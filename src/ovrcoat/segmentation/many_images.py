"""Predictions of many images, one after the other, in bounded memory."""

from collections.abc import Callable, Generator
from contextlib import closing
from warnings import warn

from ovrcoat.data.images import ImageInput, OnError, warn_of_notes
from ovrcoat.errors import ImageError
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.prompt import SegmentationPrompt

ResultIterator = Generator[tuple[ImageInput, AnyResult | ImageError], None, None]


def predict_each(
    encoded_images: Generator[tuple[ImageInput, EncodedImage | ImageError], None, None],
    prompt: SegmentationPrompt,
    *,
    on_error: OnError,
    predict: Callable[[EncodedImage, SegmentationPrompt], AnyResult] = EncodedImage.predict,
) -> ResultIterator:
    """Yield (source, result) for encoded images; nothing of an image is kept while the next one is computed.

    Args:
        encoded_images: sources with their encoded images or errors; closed at the end.
        prompt: the prompt of all results.
        on_error: see `Segmenter.segment_many`.
        predict: returns the result of an encoded image.

    Raises:
        ImageError: on reaching an unreadable image, if `on_error` is "raise".
    """
    with closing(encoded_images):
        for source, encoded in encoded_images:
            if isinstance(encoded, ImageError):
                if on_error == "raise":
                    raise encoded
                if on_error == "yield":
                    yield source, encoded
                else:
                    warn(f"skipped: {encoded}", UserWarning, stacklevel=2)
                continue
            result = predict(encoded, prompt)
            del encoded
            yield source, result
            del result


def with_image_warnings(results: ResultIterator) -> ResultIterator:
    """Yield results, with a `UserWarning` per note about an image."""
    with closing(results):
        for source, result in results:
            if not isinstance(result, ImageError):
                warn_of_notes(result.notes, result.name)
            yield source, result
            del result
