import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.mean_iou import MeanIou, score_semantic, tallies_of

NAMES = ("cat", "dog", "sky")
SHAPE = (3, 4)


def maps(lowest: int, highest: int):
    return arrays.arrays(np.int32, SHAPE, elements=st.integers(lowest, highest))


def plain_loop(truth, predicted):
    """The definition, pixel by pixel; row 3: no category."""
    matrix = np.zeros((4, 3), dtype=int)
    for true, found in zip(truth.flat, predicted.flat, strict=True):
        if true >= 0:
            matrix[found if 0 <= found < 3 else 3, true] += 1
    return matrix


@settings(deadline=None)
@given(maps(-1, 2), maps(-1, 4))
def test_the_matrix_is_that_of_a_plain_loop(truth, predicted):
    metric = MeanIou(NAMES)
    cells = metric.add(truth, predicted)
    np.testing.assert_array_equal(metric.matrix, plain_loop(truth, predicted))
    again = MeanIou(NAMES)
    again.add_cells(cells)
    np.testing.assert_array_equal(again.matrix, metric.matrix)
    assert all(pixels > 0 for _, _, pixels in cells)


@settings(deadline=None)
@given(maps(-1, 2), maps(-1, 4))
def test_tallies_of_a_image_give_its_iou(truth, predicted):
    metric = MeanIou(NAMES)
    tallies = tallies_of(metric.add(truth, predicted), category_ids=(10, 20, 30))
    for iou, id in zip(metric.report()["iou"], (10, 20, 30), strict=True):
        both, true, found = tallies.get(id, (0, 0, 0))
        assert iou == (pytest.approx(100 * both / (true + found - both)) if true else None)


@settings(deadline=None)
@given(maps(-1, 2))
def test_truth_against_itself_is_100(truth):
    metric = MeanIou(NAMES)
    metric.add(truth, truth)
    report = metric.report()
    expected = 100.0 if (truth >= 0).any() else None
    assert (report["mIoU"], report["mACC"], report["pACC"]) == (expected,) * 3
    assert set(report["iou"]) <= {100.0, None}


def test_a_prediction_of_nothing_is_missed_not_left_out():
    metric = MeanIou(NAMES)
    metric.add(np.array([[0, 0, 0, 1]]), np.array([[0, -1, 3, 1]]))
    report = metric.report()
    assert report["iou"] == [pytest.approx(100 / 3), 100.0, None]
    assert report["pACC"] == 50.0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_any_whole_numbers_are_taken(kind: type):
    metric = MeanIou(NAMES)
    metric.add(np.array([[0, 2]], dtype=kind), np.array([[0, 1]], dtype=kind))
    assert metric.matrix.sum() == 2


def test_faulty_maps_are_refused():
    metric = MeanIou(NAMES)
    with pytest.raises(DatasetError, match=r"2 × 2 pixels \(height × width\), the predicted one 2 × 3"):
        metric.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(DatasetError, match="true map holds 3, expected positions 0 to 2 of the 3"):
        metric.add(np.array([[3]]), np.array([[0]]))
    assert not metric.matrix.any()


# -- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    for name in ("truth", "predicted"):
        (tmp_path / name).mkdir()
    return tmp_path / "truth", tmp_path / "predicted"


def write(path, values, kind=np.uint8):
    Image.fromarray(np.array(values, dtype=kind)).save(path)


def score(folders, **options):
    return score_semantic(*folders, **({"category_names": NAMES, "ignore_label": 255} | options))


def test_files_of_several_forms_are_scored(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 1], [2, 255]])
    write(predicted / "a.png", [[0, 1], [1, 0]])
    (truth / "city").mkdir()
    write(truth / "city" / "b.tif", [[0, 2]], np.uint16)
    write(predicted / "b.png", [[0, 2]], np.uint16)
    palette = Image.fromarray(np.array([[1, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(truth / "c.png")
    write(predicted / "c.png", [[1, 1]])
    report = score(folders)
    assert report["n_images"] == 3
    assert report["pACC"] == pytest.approx(100 * 6 / 7)
    assert report["iou"] == [100.0, 75.0, 50.0]
    assert report["issues"] == []


def test_16_bits_and_another_ignore_label(folders):
    truth, predicted = folders
    write(truth / "a.png", [[300, 65535]], np.uint16)
    write(predicted / "a.png", [[300, 7]], np.uint16)
    report = score(folders, category_names=[f"c{n}" for n in range(301)], ignore_label=65535)
    assert report["mIoU"] == 100
    assert report["ignore_label"] == 65535


def test_all_faults_are_told_at_once(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 9]])
    write(predicted / "a.png", [[0, 1]])
    write(truth / "b.png", [[0, 1]])
    write(predicted / "b.png", [[0], [1]])
    write(truth / "c.png", [[0, 1]])
    write(truth / "d.png", [[0, 1]])
    (predicted / "d.png").write_bytes(b"no picture")
    write(truth / "e.png", np.zeros((2, 2, 3)))
    write(predicted / "e.png", [[0, 1]])
    with pytest.raises(DatasetError) as caught:
        score(folders)
    for text in (
        r"neither a position 0 to 2 nor the ignore label.*a: value 9 in 1 pixels",
        r"b: truth 2 × 1, prediction 1 × 2 (width × height)",
        r"an image has no prediction.*c.png",
        r"cannot be read.*d.png",
        r"e.png",
    ):
        assert all(part in str(caught.value) for part in text.split(".*"))


def test_missing_folders_and_twin_names_are_refused(folders):
    truth, predicted = folders
    with pytest.raises(DatasetError, match=r"(?s)no such folder.*holds no PNG or TIFF"):
        score((truth / "none", predicted))
    write(truth / "a.png", [[0]])
    write(truth / "a.tif", [[0]])
    write(predicted / "a.png", [[0]])
    with pytest.raises(DatasetError, match=r"same name .*a\.png and .*a\.tif"):
        score(folders)


def test_doubtful_files_are_warned_of(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 255]])
    write(predicted / "a.png", [[7, 9]])
    write(predicted / "z.png", [[0, 0]])
    report = score(folders)
    assert report["mIoU"] == 0
    assert {(found["code"], found["severity"]) for found in report["issues"]} == {
        ("predicted-label-out-of-range", "warning"),
        ("prediction-without-truth", "warning"),
    }
    (label,) = (found for found in report["issues"] if found["code"] == "predicted-label-out-of-range")
    assert label["examples"] == ["a: value 7 in 1 pixels"]  # 9 lies where nobody knows: no matter


def test_nothing_but_ignored_pixels_is_undefined_and_said(folders):
    for folder in folders:
        write(folder / "a.png", [[255, 255]])
    report = score(folders)
    assert report["mIoU"] is None
    assert [found["code"] for found in report["issues"]] == ["everything-ignored"]
