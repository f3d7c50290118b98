import re
from dataclasses import replace

import pytest

from ovrcoat.results.background import BackgroundShare

from .samples import instance_result, panoptic_result, semantic_result


def test_one_line_says_what_a_result_holds():
    result = panoptic_result()
    text = repr(result)
    assert text.startswith("<PanopticResult ")
    assert f"4 × 3 pixels, {len(result.segments)} segments: " in text
    assert "\n" not in text
    assert len(text) < 200
    many = replace(result, segments=result.segments * 9)
    assert repr(many).endswith(", ...>")
    assert repr(replace(result, segments=(), name=None)) == "<PanopticResult 4 × 3 pixels, 0 segments>"


@pytest.mark.parametrize("make", [panoptic_result, semantic_result, instance_result])
def test_a_notebook_shows_the_drawing_and_a_table(make):
    result = make()
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + len(result.segments)
    assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/=]{100,}"', html)
    assert all(f"<td>{segment.category}</td>" in html for segment in result.segments)


def test_names_are_text_and_never_markup():
    result = panoptic_result()
    segment = replace(result.segments[0], category="<script>alert(1)</script>")
    html = replace(result, segments=(segment,), name='"><b>')._repr_html_()
    assert "<script>" not in html
    assert "<b>&quot;" not in html.replace("<b>PanopticResult", "")
    assert "&lt;script&gt;" in html


def test_the_note_on_background_classes_is_shown():
    result = replace(panoptic_result(), background=(BackgroundShare("cow", 0.6),))
    assert "60 % of the image went to background classes: cow 0.60" in result._repr_html_()
    assert "60 % of the image went to background classes: cow 0.60" in result.summary()
    assert result.to_coco()["background"] == [{"category": "cow", "share": 0.6}]


def test_pycocotools_takes_instances_for_masks():
    coco = pytest.importorskip("pycocotools.coco")
    result = instance_result()
    truth = coco.COCO()
    height, width = result.size
    truth.dataset = {
        "images": [{"id": 1, "height": height, "width": width}],
        "categories": [{"id": category.id, "name": category.name} for category in result.categories],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(result.to_coco())
    areas = [annotation["area"] for annotation in loaded.loadAnns(loaded.getAnnIds())]
    assert areas == [segment.area for segment in result.segments]
