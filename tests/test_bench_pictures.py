"""Pictures of ratios over sizes."""

import pytest
from stub_results import FACTS, RESULTS, measured, over, row

from bench import pictures


def test_a_picture_is_drawn_of_steps_over_a_size(tmp_path):
    found = measured()
    path = tmp_path / "picture.png"
    pictures.check({"steps over batch"}, str(path))
    assert not path.exists()
    pictures.draw(found, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="a plot needs cases"):
        pictures.draw(RESULTS, str(path))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_picture_has_a_panel_for_each_group_and_no_other(number):
    groups = list(pictures.SIZES)[:number]
    figure = pictures.figure_of(RESULTS | {"cases": [over(group) for group in groups]})
    assert [panel.get_title() for panel in figure.axes] == groups
    assert all(panel.lines for panel in figure.axes)


def test_a_picture_says_where_its_times_are_from():
    figure = pictures.figure_of(RESULTS | {"cases": [over("steps over batch")]})
    title = " ".join(figure.get_suptitle().splitlines())
    assert title.endswith(
        "a processor, 2 cores; threads: fastnn 2, each rival its best of 1 and 2; float32"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_the_words_of_a_picture_fit_its_width(number):
    machine = FACTS | {"processor": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz avx512f"}
    names = ["numpy", "scipy sparse", "pytorch", "compiled pytorch", "jax", "scikit-learn"]
    rows = [row(name, 2, 0.2) for name in ("fastnn", *names)]
    chosen = [over(group) | {"contestants": rows} for group in list(pictures.SIZES)[:number]]
    figure = pictures.figure_of(RESULTS | {"machine": machine, "cases": chosen})
    figure.canvas.draw()
    for words in (figure._suptitle, *figure.legends):
        box = words.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
