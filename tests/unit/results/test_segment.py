import json

from .samples import SEGMENTS


def test_coco_gets_its_own_keys_and_ours():
    entry = SEGMENTS[1].to_coco()
    assert {key: entry[key] for key in ("id", "category_id", "area", "bbox", "iscrowd")} == {
        "id": 2,
        "category_id": 9,
        "area": 5,
        "bbox": [2, 0, 2, 3],
        "iscrowd": 0,
    }
    ours = {
        "category",
        "score",
        "isthing",
        "objectness",
        "objectness_before",
        "clip_confidence",
        "top",
        "query",
    }
    assert ours <= set(entry)
    assert json.loads(json.dumps(entry)) == entry
