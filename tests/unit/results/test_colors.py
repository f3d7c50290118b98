import numpy as np
import pytest

from ovrcoat.results.color_space import difference, srgb_to_lab, vision_labs
from ovrcoat.results.colors import (
    APART,
    APART_COLOR_BLIND,
    INSTANCE_RADIUS,
    INSTANCES_APART,
    category_color,
    category_colors,
    instance_colors,
)
from ovrcoat.vocabulary import Category, Vocabulary

ORDINARY = [
    "cat; dog; sky; grass; tree; road; person; car; building; wall",
    "person; bicycle; car; bus; truck; train; motorcycle; boat; airplane; bench",
    "table; chair; sofa; lamp; window; door; floor; ceiling; carpet; curtain",
    "man; woman; boy; girl; horse; cow; sheep; bird; dog; cat",
    "apple; banana; orange; cup; bottle; plate; knife; spoon; bowl; table",
    "sky; water; sand; rock; mountain; tree; grass; snow; river; sea",
    "robot; drone; castle; dragon; wizard; cactus; tent; kite; lantern; canoe",
]


def categories(text: str) -> tuple[Category, ...]:
    return Vocabulary.read(text).categories


def distances(colors: list[tuple[int, int, int]]) -> np.ndarray:
    """Return the smallest distance of two colors for each kind of vision."""
    labs = vision_labs(np.array(colors, dtype=float))
    one, other = np.triu_indices(len(colors), 1)
    return difference(labs[:, one], labs[:, other]).min(axis=1)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_names_are_far_apart_also_for_color_blind_people(text: str):
    normal, protanopia, deuteranopia, tritanopia = distances(list(category_colors(categories(text)).values()))
    assert normal >= APART
    assert min(protanopia, deuteranopia, tritanopia) >= APART_COLOR_BLIND


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("sky", (70, 130, 180)),  # COCO
        ("grass", (152, 251, 152)),
        ("Person", (220, 20, 60)),
        ("cars", (0, 0, 142)),
        ("persons", (220, 20, 60)),
        ("automobile", (0, 102, 200)),  # only a synonym in ADE20K
        ("sculpture", (255, 255, 0)),  # ADE20K
        ("traffic sign", (220, 220, 0)),  # Cityscapes
    ],
)
def test_a_known_name_has_the_color_of_the_preset(name: str, color: tuple[int, int, int]):
    (category,) = categories(name)
    assert category_colors([category]) == {category.id: color}
    assert category_color(category) == color


def test_known_names_that_are_far_apart_keep_their_colors():
    known = categories("sky; grass; person; road; unicorn")
    colors = category_colors(known)
    assert [colors[c.id] for c in known[:4]] == [category_color(c) for c in known[:4]]


def test_a_synonym_is_looked_up_after_the_first_name():
    assert category_color(Category(("feline", "cat"), True, 1)) == category_color(Category(("cat",), True, 1))
    first, second = Category(("sky", "person"), True, 1), Category(("person", "sky"), True, 1)
    assert category_color(first) != category_color(second)


def test_the_color_of_a_new_name_is_pinned():
    # The color must not change between runs, machines and versions.
    assert category_color(Category(("unicorn",), True, 5)) == category_color(Category(("Unicorn",), True, 9))
    assert category_color(Category(("unicorn",), True, 5)) == (162, 41, 224)


def test_given_colors_never_change_even_if_they_are_equal():
    given = [Category(("sky",), False, 1, color=(1, 2, 3)), Category(("wall",), False, 2, color=(1, 2, 3))]
    free = Category(("floor",), False, 3)
    colors = category_colors([free, *given])
    assert (colors[1], colors[2]) == ((1, 2, 3), (1, 2, 3))
    assert list(colors) == [3, 1, 2]
    coco = Vocabulary.named("coco").categories
    assert category_colors(coco) == {c.id: c.color for c in coco}


def test_a_free_color_keeps_away_from_the_given_ones():
    sky = categories("sky")[0]
    given = Category(("ceiling",), False, 50, color=(75, 130, 180))
    assert distances(list(category_colors([sky, given]).values()))[0] >= APART


def test_appending_names_changes_no_color():
    names = "unicorn; dragon; wizard; castle"
    before = category_colors(categories(names))
    after = category_colors(categories(names + "; goblin; elf; troll; gnome"))
    assert {id: after[id] for id in before} == before


def test_long_lists_have_distinct_colors():
    colors = category_colors(categories("; ".join(f"gizmo{n}" for n in range(60)))).values()
    assert distances(list(colors))[0] > 8
    many = category_colors(categories("; ".join(f"gizmo{n}" for n in range(300)))).values()
    assert len(set(many)) > 270


@pytest.mark.parametrize("text", ORDINARY)
def test_instances_differ_and_are_closest_to_their_own_category(text: str):
    known = categories(text)
    of_category = category_colors(known)
    ids = [category.id for category in known for _ in range(4)]
    colors = instance_colors(known, ids)
    centers = srgb_to_lab(np.array(list(of_category.values()), dtype=float))
    for place, category in enumerate(known):
        own = colors[4 * place : 4 * place + 4]
        assert own[0] == of_category[category.id]
        assert len(set(own)) == 4
        assert distances(own)[0] >= INSTANCES_APART
        for color in own:
            away = difference(centers, srgb_to_lab(np.array(color, dtype=float)))
            assert int(away.argmin()) == place
            assert away[place] <= INSTANCE_RADIUS


def test_many_instances_repeat_colors_rather_than_fail():
    known = categories("person")
    colors = instance_colors(known, [known[0].id] * 200)
    assert len(colors) == 200
    assert len(set(colors)) >= 8


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (0, 0, 255)])
def test_extreme_colors_have_instances_too(color: tuple[int, int, int]):
    category = Category(("thing",), True, 1, color=color)
    assert len(set(instance_colors([category], [1, 1, 1]))) == 3
