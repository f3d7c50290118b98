"""Every endpoint, through a real HTTP client."""

import base64
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import ovrcoat
from ovrcoat.formats.panoptic_png import decode_id_map
from ovrcoat.formats.polygons import fill_polygon
from ovrcoat.formats.run_lengths import decode_runs
from ovrcoat.vocabulary import Vocabulary

REQUEST = {"vocabulary": "cat, kitty; sofa; wall#stuff", "trust": 0.5}


def id_map_of(answer: dict[str, Any]) -> np.ndarray:
    return decode_id_map(base64.b64decode(answer["id_map"])).id_map


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_segment_equals_the_segmenter(client: httpx.Client, nano: Any, jpeg: bytes, task: str):
    body = REQUEST | {"task": task}
    response = client.post(
        "/v1/segment", files={"image": ("a.jpg", jpeg)}, data={"request": json.dumps(body)}
    )
    assert response.status_code == 200, response.text
    answer = response.json()
    expected = nano.segment(jpeg, REQUEST["vocabulary"], task=task, trust=0.5)
    np.testing.assert_array_equal(id_map_of(answer), expected.segment_map())
    assert (answer["height"], answer["width"]) == expected.size
    assert answer["segments"]
    for entry, segment in zip(answer["segments"], expected.segments, strict=True):
        for name in ("id", "category_id", "category", "is_thing", "score", "area", "objectness", "rescued"):
            assert entry[name] == getattr(segment, name), name
        assert entry["objectness_before"] == segment.objectness_before
        assert entry["clip_confidence"] == segment.clip_confidence
        assert tuple(entry["bbox"]) == segment.bbox
        assert [(one["category"], one["score"]) for one in entry["top"]] == list(segment.top)
    assert [(one["name"], one["share"]) for one in answer["background"]] == [
        (one.category, one.share) for one in expected.background
    ]


def test_a_list_of_objects_is_the_vocabulary_of_the_same_names(client: httpx.Client, image_id: str):
    items = [
        {"name": "cat", "synonyms": ["kitty"]},
        {"name": "sofa", "is_thing": True},
        {"name": "wall", "is_thing": False},
    ]
    answers = [
        client.post(f"/v1/images/{image_id}/segment", json=REQUEST | {"vocabulary": vocabulary}).json()
        for vocabulary in (REQUEST["vocabulary"], items)
    ]
    for answer in answers:
        del answer["seconds"]
    assert answers[0] == answers[1]


def test_masks_are_the_same_in_every_format(client: httpx.Client, image_id: str):
    answers = {
        masks: client.post(f"/v1/images/{image_id}/segment", json=REQUEST | {"masks": masks}).json()
        for masks in ("png", "rle", "polygons", "none")
    }
    id_map = id_map_of(answers["png"])
    assert "segmentation" not in answers["png"]["segments"][0]
    assert "id_map" not in answers["none"]
    assert "segmentation" not in answers["none"]["segments"][0]
    for entry in answers["rle"]["segments"]:
        np.testing.assert_array_equal(decode_runs(entry["segmentation"]), id_map == entry["id"])
    height, width = id_map.shape
    for entry in answers["polygons"]["segments"]:
        mask = np.zeros((height, width), dtype=bool)
        for flat in entry["segmentation"]:
            mask ^= fill_polygon(np.array(flat).reshape(-1, 2), height=height, width=width)
        np.testing.assert_array_equal(mask, id_map == entry["id"])


def test_instances_have_masks(client: httpx.Client, image_id: str):
    body = {"vocabulary": "cat", "task": "instance", "score_threshold": 0.1, "masks": "rle"}
    answer = client.post(f"/v1/images/{image_id}/segment", json=body).json()
    assert answer["task"] == "instance"
    for entry in answer["segments"]:
        mask = decode_runs(entry["segmentation"])
        assert mask is not None
        assert mask.sum() == entry["area"]


def test_an_image_is_uploaded_used_and_removed(client: httpx.Client, jpeg: bytes):
    forms = (
        {"files": {"image": ("../../etc/passwd\x01.jpg", jpeg, "text/html")}},  # names have no effect
        {"content": jpeg, "headers": {"content-type": "image/jpeg"}},
    )
    for form in forms:
        response = client.post("/v1/images", **form)
        assert response.status_code == 201, response.text
        answer = response.json()
        assert (answer["width"], answer["height"], answer["expires_in"]) == (226, 150, 600)
        assert len(answer["id"]) >= 22
        path = f"/v1/images/{answer['id']}"
        assert client.post(f"{path}/segment", json=REQUEST).status_code == 200
        assert client.delete(path).status_code == 204
        assert client.delete(path).status_code == 404
        assert client.post(f"{path}/segment", json=REQUEST).json()["error"]["code"] == "image_not_found"


def test_exported_labels_equal_saved_ones(
    client: httpx.Client, nano: Any, jpeg: bytes, image_id: str, tmp_path: Path
):
    body = REQUEST | {"formats": ["labelme", "yolo", "cvat", "coco-panoptic"]}
    response = client.post(f"/v1/images/{image_id}/export", json=body)
    assert response.status_code == 200, response.text
    result = replace(nano.segment(jpeg, REQUEST["vocabulary"], trust=0.5), name="image.png")
    result.save(tmp_path, format=body["formats"])
    saved = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert set(archive.namelist()) == set(saved)
        assert {"labelme/image.json", "yolo/labels/image.txt", "yolo/data.yaml"} <= set(saved)
        for name in ("labelme/image.json", "yolo/labels/image.txt", "yolo/data.yaml"):
            assert archive.read(name) == saved[name].read_bytes(), name
        annotations = json.loads(archive.read("cvat/annotations/instances_default.json"))["annotations"]
    assert len(annotations) == len(result.segments) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": ["voc"]}, "'voc' is not a format"),
        ({"formats": ["cityscapes"], "task": "semantic"}, "holds results of the task panoptic"),
        ({"formats": []}, "formats"),
        ({}, "formats"),
    ],
)
def test_labels_that_cannot_be_exported(
    client: httpx.Client, image_id: str, change: dict[str, Any], message: str
):
    response = client.post(f"/v1/images/{image_id}/export", json=REQUEST | change)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


def test_overlay_is_a_png(client: httpx.Client, image_id: str):
    response = client.post(f"/v1/images/{image_id}/overlay", json=REQUEST)
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).width == 226


def test_explain_is_that_of_the_segmenter(client: httpx.Client, nano: Any, jpeg: bytes, image_id: str):
    answer = client.post(f"/v1/images/{image_id}/explain", json=REQUEST | {"point": [3, 4]}).json()
    expected = nano.explain(jpeg, REQUEST["vocabulary"], trust=0.5)
    document = json.loads(json.dumps(expected.to_dict()))
    assert answer["masks"] == document["masks"]
    assert answer["counts"] == document["counts"]
    assert answer["point"] == json.loads(json.dumps(expected.at(3, 4).to_dict()))
    assert len(answer["result"]["segments"]) == len(expected.result.segments)
    outside = client.post(f"/v1/images/{image_id}/explain", json=REQUEST | {"point": [3, 400]})
    assert outside.status_code == 422
    assert "not in the image" in outside.json()["error"]["message"]


def test_vocabularies_are_the_presets(client: httpx.Client):
    entries = {entry["name"]: entry for entry in client.get("/v1/vocabularies").json()["vocabularies"]}
    assert entries["coco"] == {"name": "coco", "categories": 133, "things": 80}
    coco = client.get("/v1/vocabularies/coco").json()["categories"]
    assert [entry["name"] for entry in coco] == [one.name for one in Vocabulary.named("coco").categories]
    assert client.get("/v1/vocabularies/nothing").status_code == 404


def test_server_reports_itself(client: httpx.Client):
    assert client.get("/health").json()["status"] == "healthy"
    assert client.get("/ready").json() == {"status": "ready", "queue": 0, "queue_size": 8}
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'ovrcoat_requests_total{route="/health",status="200"}' in metrics.text
    assert "ovrcoat_cache_bytes" in metrics.text


def test_the_page_is_served_with_security_headers_and_nothing_else_is(client: httpx.Client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    for path in ("/app.py", "/../app.py", "/..%2fapp.py", "/%2e%2e/app.py", "/%00", "/docs", "/redoc"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path


def test_x_anylabeling_finds_the_model(client: httpx.Client):
    models = client.get("/v1/models").json()
    assert models["success"] is True
    entry = models["data"]["nano"]
    assert entry["display_name"] == "ovrcoat nano"
    assert entry["params"]["version"] == ovrcoat.__version__
    assert {"edit_text", "button_send"} <= {widget["name"] for widget in entry["widgets"]}
    assert client.get("/v1/models/nano/info").json()["data"]["model_id"] == "nano"
    missing = client.get("/v1/models/other/info")
    assert (missing.status_code, missing.json()["success"]) == (404, False)


def test_x_anylabeling_gets_polygons(client: httpx.Client, jpeg: bytes):
    encoded = base64.b64encode(jpeg).decode()
    params = {"text_prompt": "cat.sofa", "conf_threshold": 0.2, "iou_threshold": 0.5, "current_task": "x"}
    answers = [
        client.post("/v1/predict", json={"model": "nano", "image": image, "params": params}).json()
        for image in (encoded, f"data:image/jpeg;base64,{encoded}")
    ]
    assert answers[0] == answers[1]
    data = answers[0]["data"]
    assert (answers[0]["success"], data["replace"], data["description"]) == (True, False, "")
    assert data["shapes"]
    groups = [shape["group_id"] for shape in data["shapes"]]
    for shape in data["shapes"]:
        assert shape["shape_type"] == "polygon"
        assert shape["label"] in ("cat", "sofa")
        assert shape["points"][0] == shape["points"][-1]
        assert len(shape["points"]) >= 4
        assert 0.2 <= shape["score"] <= 1
        assert shape["group_id"] is None or groups.count(shape["group_id"]) > 1
