"""What a person does on the web page, in a real browser."""

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

import ovrcoat

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLASSES = "cat, kitty; wall#stuff"


@pytest.fixture
def segmented(page: "Page", cat_file: Path) -> "Page":
    """The page after an upload and two class names."""
    page.set_input_files("#file", cat_file)
    add_classes(page, CLASSES)
    wait_for_trust(page, "A", "adaptive")
    return page


@pytest.fixture(scope="module")
def void_point(cat_file: Path) -> tuple[int, int]:
    """Column and row of the pixel that is farthest from any segment, without background classes and COAT."""
    result = ovrcoat.Segmenter.load("nano").segment(cat_file, CLASSES, trust=0, background="none")
    distances = distance_transform_edt(np.pad(result.segment_map() == 0, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(distances.argmax(), distances.shape)
    assert distances.max() > 5
    return int(column), int(row)


@pytest.fixture
def partly_void(page: "Page", cat_file: Path) -> "Page":
    """The page with the result that `void_point` is for."""
    page.select_option("#background-A", "none")
    page.set_input_files("#file", cat_file)
    add_classes(page, CLASSES)
    wait_for_trust(page, "A", "adaptive")
    set_trust(page, "A", 0)
    return page


def add_classes(page: "Page", text: str) -> None:
    page.fill("#class-input", text)
    page.click("#add-class")


def wait_for_trust(page: "Page", side: str, trust: float | str) -> None:
    """Wait until the picture of a side shows the result of a trust."""
    page.wait_for_selector(f'#view-{side}[data-painted="{trust}"]')


def set_trust(page: "Page", side: str, trust: float) -> None:
    page.eval_on_selector(
        f"#trust-{side}",
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
        trust,
    )
    wait_for_trust(page, side, trust)


def canvas_text(page: "Page", side: str) -> str:
    """Return what a canvas shows, after it was drawn."""
    return page.evaluate(
        """side => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(
            () => resolve(document.getElementById(`canvas-${side}`).toDataURL()))))""",
        side,
    )


def place(page: "Page", side: str, x: int, y: int) -> tuple[float, float]:
    """Return the place on the screen of a pixel of the cat image."""
    page.locator(f"#canvas-{side}").scroll_into_view_if_needed()
    box = page.locator(f"#canvas-{side}").bounding_box()
    assert box is not None
    return box["x"] + (x + 0.5) / 451 * box["width"], box["y"] + (y + 0.5) / 300 * box["height"]


def download(page: "Page", label: str) -> bytes:
    with page.expect_download() as info:
        page.click(f"#view-A .downloads button:text-is('{label}')")
    return Path(info.value.path()).read_bytes()


def id_map(png: bytes) -> Any:
    """Return the ids of a COCO panoptic PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64) @ [1, 256, 65536]


def class_names(page: "Page") -> list[str]:
    return page.eval_on_selector_all(
        "#chips .name", "names => names.map(name => name.firstChild.textContent)"
    )


def test_upload_and_class_names_give_a_segmented_image_with_a_legend(segmented: "Page") -> None:
    assert class_names(segmented) == ["cat", "wall"]
    assert "cat" in segmented.inner_text("#view-A .legend")
    assert "segment" in segmented.inner_text("#status")


def test_the_slider_changes_the_picture(segmented: "Page") -> None:
    set_trust(segmented, "A", 0.5)  # the page begins with nano's default, adaptive
    before = canvas_text(segmented, "A")
    set_trust(segmented, "A", 0)
    assert canvas_text(segmented, "A") != before
    set_trust(segmented, "A", 0.5)
    assert canvas_text(segmented, "A") == before
    segmented.check("#adaptive-A")
    wait_for_trust(segmented, "A", "adaptive")


def test_every_slider_move_that_is_sent_is_the_latest_one(segmented: "Page") -> None:
    sent: list[Any] = []
    segmented.on(
        "request",
        lambda request: sent.append(request.post_data_json) if request.url.endswith("/segment") else None,
    )
    segmented.evaluate(
        """() => { const slider = document.getElementById('trust-A');
        for (let value = 0; value <= 100; value++) {
            slider.value = value / 100; slider.dispatchEvent(new Event('input')); } }"""
    )
    wait_for_trust(segmented, "A", 1)
    assert [request["trust"] for request in sent] == [0, 1]


def test_hovering_shows_name_score_objectness_and_alternatives(segmented: "Page") -> None:
    segmented.mouse.move(*place(segmented, "A", 200, 150))
    text = segmented.inner_text("#tooltip")
    assert "cat" in text
    assert "→" in text
    assert "Score" in text
    assert segmented.locator("#tooltip .ranking li").count() == 2


def test_the_tooltip_of_a_rescued_segment_stays_inside_its_box(page: "Page") -> None:
    page.click("#examples button:has-text('Coffee')")
    page.wait_for_selector("#view-A[data-painted]")
    page.click("#clear-classes")
    add_classes(page, "cup#thing; table#stuff")
    page.select_option("#background-A", "none")
    page.check("#adaptive-A")
    wait_for_trust(page, "A", "adaptive")
    box = page.locator("#canvas-A").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.45 * box["height"])
    page.wait_for_selector("#tooltip:not([hidden]) :text('rescued by COAT')")
    outside = page.evaluate(
        """() => {
            const right = document.getElementById("tooltip").getBoundingClientRect().right;
            return [...document.querySelectorAll("#tooltip *")].filter(
                (part) => part.getBoundingClientRect().right > right).map((part) => part.textContent);
        }"""
    )
    assert outside == []


def test_clicking_a_segment_pins_it_and_explains_it(segmented: "Page") -> None:
    segmented.mouse.click(*place(segmented, "A", 200, 150))
    segmented.click("#details button:text-is('Why is this here?')")
    segmented.wait_for_selector("#details .reasons")
    assert "segment" in segmented.inner_text("#details .summary").lower()


def test_clicking_into_void_shows_the_reasons(partly_void: "Page", void_point: tuple[int, int]) -> None:
    partly_void.mouse.click(*place(partly_void, "A", *void_point))
    summary = partly_void.wait_for_selector("#details .summary")
    assert summary is not None
    assert "void" in summary.inner_text().lower()


def test_comparing_shows_two_settings_with_a_linked_view(segmented: "Page") -> None:
    segmented.check("#compare")
    wait_for_trust(segmented, "B", 0)
    assert canvas_text(segmented, "A") != canvas_text(segmented, "B")
    segmented.mouse.move(*place(segmented, "A", 200, 150))
    assert segmented.locator("#tooltip > div").count() == 2
    segmented.mouse.move(0, 0)
    before = canvas_text(segmented, "B")
    segmented.focus("#canvas-A")
    segmented.keyboard.press("+")
    assert canvas_text(segmented, "B") != before
    segmented.keyboard.press("0")
    segmented.focus("#compare")
    assert canvas_text(segmented, "B") == before


def test_downloads_can_be_read(segmented: "Page") -> None:
    document = json.loads(download(segmented, "JSON"))
    assert document["image"] == "my cat.png"
    assert document["model"] == {"name": "nano", "version": ovrcoat.__version__}
    assert document["request"]["vocabulary"][0] == {"name": "cat", "synonyms": ["kitty"], "is_thing": None}
    ids = id_map(download(segmented, "PNG"))
    assert {id for id in np.unique(ids).tolist() if id} == {one["id"] for one in document["segments"]}
    for one in document["segments"]:
        assert (ids == one["id"]).sum() == one["area"]
    with Image.open(io.BytesIO(download(segmented, "Overlay"))) as overlay:
        assert overlay.size == (document["width"], document["height"]) == (451, 300)


def test_a_link_restores_the_settings_but_not_an_uploaded_image(segmented: "Page") -> None:
    segmented.check("#compare")
    set_trust(segmented, "A", 0.25)
    segmented.select_option("#background-B", "none")
    link = segmented.url
    segmented.goto("about:blank")
    segmented.goto(link)
    segmented.wait_for_selector("body[data-ready].empty")
    assert class_names(segmented) == ["cat", "wall"]
    assert segmented.input_value("#trust-A") == "0.25"
    assert segmented.input_value("#background-B") == "none"
    assert segmented.is_checked("#compare")
    assert segmented.inner_text("#status") == "Link restored 2 classes; add an image."


def test_a_link_restores_an_example_image(page: "Page") -> None:
    page.click("#examples button")
    wait_for_trust(page, "A", "adaptive")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    wait_for_trust(page, "A", "adaptive")
    assert "cat" in class_names(page)


def test_a_drag_moves_both_views_of_a_zoomed_image(segmented: "Page") -> None:
    segmented.check("#compare")
    wait_for_trust(segmented, "B", 0)
    segmented.click("#zoom-in")
    before = canvas_text(segmented, "B")
    segmented.mouse.move(*place(segmented, "A", 200, 150))
    segmented.mouse.down()
    segmented.mouse.move(*place(segmented, "A", 120, 100))
    segmented.mouse.up()
    segmented.mouse.move(0, 0)
    assert canvas_text(segmented, "B") != before
    assert segmented.is_hidden("#details")  # a drag is no click


def test_undo_and_redo_of_class_edits(segmented: "Page") -> None:
    add_classes(segmented, "dog")
    segmented.click("#chips .remove >> nth=0")
    assert class_names(segmented) == ["wall", "dog"]
    segmented.click("#undo")
    segmented.click("#undo")
    assert class_names(segmented) == ["cat", "wall"]
    segmented.focus("#canvas-A")
    segmented.keyboard.press("Control+Shift+Z")
    assert class_names(segmented) == ["cat", "wall", "dog"]


def test_chips_change_kind_and_color(segmented: "Page") -> None:
    segmented.click("#chips .kind >> nth=0")
    assert segmented.inner_text("#chips .kind >> nth=0") == "stuff"
    before = canvas_text(segmented, "A")
    segmented.eval_on_selector(
        "#chips input[type=color]",
        "input => { input.value = '#00ff00'; input.dispatchEvent(new Event('change')); }",
    )
    assert canvas_text(segmented, "A") != before
    assert "@00ff00" in segmented.evaluate("decodeURIComponent(location.hash)")


def test_hiding_a_category_changes_the_picture(segmented: "Page") -> None:
    before = canvas_text(segmented, "A")
    segmented.uncheck("#view-A .legend input >> nth=0")
    assert canvas_text(segmented, "A") != before


def test_an_expired_image_is_uploaded_again(segmented: "Page", server: Any) -> None:
    images = server.app.state.server.images
    for id in list(images._images):
        segmented.evaluate("id => fetch(`/v1/images/${id}`, {method: 'DELETE'})", id)
    assert len(images) == 0
    set_trust(segmented, "A", 0.75)
    assert len(images) == 1
    assert segmented.is_hidden("#error")


def test_errors_of_the_server_are_shown(page: "Page", tmp_path: Path, segmented: "Page") -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.set_input_files("#file", broken)
    page.wait_for_selector("#error:not([hidden])")
    assert "image" in page.inner_text("#error")
    assert page.is_visible("#canvas-A")  # the image before is still there


@pytest.mark.parametrize("task", ["semantic", "instance"])
def test_other_tasks(segmented: "Page", task: str) -> None:
    with segmented.expect_response("**/segment") as info:
        segmented.select_option("#task-A", task)
    assert info.value.json()["task"] == task
    segmented.wait_for_selector(f"#view-A figcaption:has-text('{task}')")
    assert segmented.is_hidden("#error")


def test_the_keyboard_alone_is_enough(page: "Page") -> None:
    page.focus("#examples button >> nth=0")
    page.keyboard.press("Enter")
    wait_for_trust(page, "A", "adaptive")
    page.focus("#class-input")
    page.keyboard.type("zebr")
    page.wait_for_selector("#suggestions li")
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#class-input", "aria-activedescendant") == "suggestion-0"
    page.keyboard.press("Enter")
    assert "zebra" in class_names(page)
    page.focus("#trust-A")
    page.keyboard.press("Home")
    wait_for_trust(page, "A", 0)
    page.focus("#canvas-A")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#details:not([hidden])")
    page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(segmented: "Page", width: int, scheme: str) -> None:
    segmented.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    segmented.set_viewport_size({"width": width, "height": 844})
    segmented.check("#compare")
    wait_for_trust(segmented, "B", 0)
    segmented.mouse.click(*place(segmented, "A", 200, 150))
    assert segmented.is_visible("#model:has-text('nano (demonstration model)')")
    widths = segmented.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths == [width, width]


def test_every_control_has_a_name(segmented: "Page") -> None:
    unnamed = segmented.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas')].filter(control =>
            !(control.getAttribute('aria-label') || control.textContent.trim() || control.labels?.length)
        ).map(control => control.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_the_reasons_scroll_into_view_on_a_small_screen(
    partly_void: "Page", void_point: tuple[int, int], motion: str
) -> None:
    partly_void.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    partly_void.set_viewport_size({"width": 390, "height": 600})
    partly_void.mouse.click(*place(partly_void, "A", *void_point))
    partly_void.wait_for_selector("#details .summary")
    partly_void.wait_for_function(
        """() => { const box = document.getElementById('details').getBoundingClientRect();
        return box.top >= -1 && (box.bottom <= innerHeight + 1 || box.top <= 1); }"""
    )  # all of it, or its beginning if it is higher than the screen
    assert partly_void.is_visible("#details .summary")


def test_a_long_request_dims_the_picture_and_says_what_is_computed(segmented: "Page") -> None:
    held: list[Any] = []
    segmented.route("**/segment", lambda route: held.append(route))  # noqa: PLW0108 (it refuses builtins)
    with segmented.expect_request("**/segment"):
        add_classes(segmented, "dog")
    segmented.wait_for_selector("#status:has-text('Segmenting with 3 classes')")
    assert segmented.eval_on_selector("#canvas-A", "canvas => getComputedStyle(canvas).opacity") == "0.45"
    assert segmented.get_attribute("#stage", "aria-busy") == "true"
    held[0].continue_()
    segmented.wait_for_selector("body:not(.busy) #status:has-text('segment')")
    assert segmented.eval_on_selector("#canvas-A", "canvas => getComputedStyle(canvas).opacity") == "1"
    assert "Segmenting" not in segmented.inner_text("#status")


def test_the_overlay_has_the_names_that_are_shown(segmented: "Page") -> None:
    with_names = download(segmented, "Overlay")
    segmented.uncheck("#names")
    assert download(segmented, "Overlay") != with_names
    segmented.check("#names")
    assert download(segmented, "Overlay") == with_names


def test_the_legend_of_instances_counts_what_is_drawn(segmented: "Page") -> None:
    with segmented.expect_response("**/segment") as info:
        segmented.select_option("#task-A", "instance")
    segmented.wait_for_selector("#view-A figcaption:has-text('instance ·')")
    answer = info.value.json()
    ids = id_map(base64.b64decode(answer["id_map"]))
    drawn = {id for id in np.unique(ids).tolist() if id}
    assert 0 < len(drawn) < len(answer["segments"])  # weak ones and duplicates are not drawn
    shown = segmented.inner_text("#view-A .legend li >> nth=0")
    assert f"{100 * (ids > 0).mean():.0f} %" in shown
    assert f"+{len(answer['segments']) - len(drawn)} not drawn" in shown
    assert f"{len(drawn)} segment" in segmented.inner_text("#view-A figcaption")


def test_background_classes_can_be_added_or_turned_off(page: "Page", cat_file: Path) -> None:
    page.set_input_files("#file", cat_file)
    add_classes(page, "wall#stuff")
    advice = page.wait_for_selector("#view-A .legend li:has-text('background class')")
    assert advice is not None
    name = advice.inner_text().split(" (")[0]
    advice.query_selector("button:has-text('Add as class')").click()  # type: ignore[union-attr]
    page.wait_for_selector(f"#view-A .legend input[data-name='{name}']")
    assert class_names(page) == ["wall", name]
    page.click("#undo")
    page.click("#view-A .legend button:has-text('Turn background classes off')")
    page.wait_for_selector("#view-A .legend:not(:has-text('background class'))")
    assert page.input_value("#background-A") == "none"


def test_a_repeated_class_is_reported(segmented: "Page") -> None:
    add_classes(segmented, "Cat")
    assert segmented.inner_text("#class-note") == "“Cat” is already in the list."
    add_classes(segmented, "dog")
    assert segmented.is_hidden("#class-note")
    assert class_names(segmented) == ["cat", "wall", "dog"]
