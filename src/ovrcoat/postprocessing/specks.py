"""Remove specks: small disconnected parts of segments become void.

Not part of the paper. Masks of a small decoder consist of one region and many specks around it.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int32

from ovrcoat.postprocessing.panoptic import PanopticOutput
from ovrcoat.postprocessing.segments import bboxes


def without_specks(output: PanopticOutput, *, min_share: float) -> PanopticOutput:
    """Return the output after `remove_specks`, with new areas and bboxes; unchanged if `min_share` is 0."""
    if min_share == 0:
        return output
    id_map = remove_specks(output.id_map, min_share=min_share)
    areas = np.bincount(id_map.ravel(), minlength=len(output.segments) + 1).tolist()
    bbox_of = bboxes(id_map)
    segments = tuple(
        replace(segment, area=areas[segment.id], bbox=bbox_of[segment.id]) for segment in output.segments
    )
    return replace(output, id_map=id_map, segments=segments)


def remove_specks(
    id_map: Int32[np.ndarray, "height width"], *, min_share: float
) -> Int32[np.ndarray, "height width"]:
    """Return the map without connected components smaller than `min_share` of the image.

    The largest component of a segment always stays. Pixels are connected to their four neighbors.

    Args:
        id_map: id of each pixel's segment; 0 is void. It is not changed.
        min_share: share of the image's pixels, 0..1.
    """
    from scipy import ndimage  # imported late: takes longer than most other steps of a small image

    result = id_map.copy()
    min_area = min_share * id_map.size
    for id, box in enumerate(ndimage.find_objects(id_map), start=1):
        if box is None:
            continue
        components, count = ndimage.label(id_map[box] == id)
        if count == 1:
            continue
        areas = np.bincount(components.ravel())
        areas[0] = 0
        is_speck = areas < min_area
        is_speck[areas.argmax()] = False
        is_speck[0] = False
        result[box][is_speck[components]] = 0
    return result
