from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.data.held_out import is_held_out


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_out_the_same_images_and_more(name: str, one: float, other: float):
    small, large = sorted((one, other))
    assert is_held_out(name, large) or not is_held_out(name, small)
    assert is_held_out(name, 1.0)
    assert not is_held_out(name, 0.0)


def test_the_share_is_about_right_and_the_folder_does_not_matter():
    names = [f"photo-{number}.jpg" for number in range(2000)]
    held = [name for name in names if is_held_out(name, 0.1)]
    assert 150 < len(held) < 250
    assert all(is_held_out(f"images/val/{name}", 0.1) for name in held)
