import io

import altair as alt
import numpy as np
import pandas as pd
import pytest

from nbinterp.charts.clouds import circle_chart, scatter
from nbinterp.charts.data import records
from nbinterp.charts.diagrams import persistence_chart
from nbinterp.charts.theme import INK, OKABE_ITO, cyclic_palette
from nbinterp.geometry import circle_test, fit_manifold, loop_significance, pca, persistence
from tests.geometry import planted


def drawn(chart):
    """Render a chart; return its pixels [height, width, 4]."""
    import vl_convert
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict()))).convert("RGBA"))


def shows(chart, *colors):
    """Say whether the picture has a few pixels of each colour."""
    pixels = drawn(chart)
    solid = pixels[pixels[..., 3] > 200][:, :3].astype(int)
    return all((np.abs(solid - [int(c[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=1) < 30).sum() > 20 for c in colors)


def test_results_draw_themselves():
    cloud = planted.months()
    circle = fit_manifold(cloud, "month", "template")
    assert shows(circle.chart(), INK, *cyclic_palette(12))
    assert shows(circle.test.chart(), INK)
    assert shows(pca(cloud, within="template").chart("month", cyclic=True), INK)
    assert shows(pca(cloud, within="template").chart(), OKABE_ITO[0])
    diagram = persistence(cloud, within="template")
    assert shows(diagram.chart(), OKABE_ITO[3])
    assert shows(loop_significance(diagram, n_null=99).chart(), OKABE_ITO[3])
    assert loop_significance(planted.circle(12)).chart().to_dict()


def test_the_background_is_transparent():
    assert drawn(circle_chart(circle_test(planted.circle(7), range(7)).frame()))[0, 0, 3] == 0


def test_charts_of_a_users_own_can_have_the_theme():
    own = alt.Chart(pd.DataFrame({"x": [1], "y": [2]})).mark_point().encode(x="x:Q", y="y:Q")
    with alt.theme.enable("nbinterp"):
        config = own.to_dict()["config"]
    assert config["background"] == "transparent"
    assert config["axis"]["labelColor"] == config["header"]["labelColor"] == INK


def test_the_axes_of_a_circle_have_the_same_scale():
    spec = circle_chart(circle_test(planted.circle(7), range(7)).frame()).to_dict()
    x, y = (spec["layer"][0]["encoding"][axis]["scale"]["domain"] for axis in "xy")
    assert x == y
    assert spec["width"] == spec["height"]


def test_a_class_that_never_dies_is_drawn_on_the_top_edge():
    spec = persistence_chart(persistence(planted.circle(12)).frame()).to_dict()
    values = next(v for v in spec["datasets"].values() if "death_text" in v[0])
    never = [v for v in values if v["death_text"] == "never"]
    assert len(never) == 1
    assert never[0]["death"] is None
    assert never[0]["drawn_death"] == spec["layer"][-1]["encoding"]["y"]["scale"]["domain"][1]


def test_hostile_names_and_texts_are_data():
    frame = pd.DataFrame(
        {
            "x": [0.0, 1.0],
            "y": [0.0, 1.0],
            "a.b[c]": ["<img src=x onerror=alert(1)>", "datum.x"],
            "image": ["http://example.org/a.png"] * 2,
        }
    )
    chart = scatter(frame, "x", "y", color="a.b[c]", title="<b>title</b>")
    assert drawn(chart).any()
    tooltip = chart.to_dict()["layer"][0]["encoding"]["tooltip"]
    assert [(t["field"], t["title"]) for t in tooltip] == [("shown_0", "a.b[c]"), ("shown_1", "image (column)")]


def test_records_are_safe_json():
    frame = pd.DataFrame(
        {"a": [np.inf, 1.5], "b": [np.int64(2), np.int64(3)], "c": ["x" * 500, None], "d": [True, False]}
    )
    first, second = records(frame)
    assert (first["a"], first["b"], len(first["c"]), first["d"]) == (None, 2, 200, True)
    assert second["c"] is None
    with pytest.raises(
        ValueError, match="^got 20001 rows to draw; a chart holds at most 20000: draw them with nb.scatter"
    ):
        records(pd.DataFrame({"a": np.zeros(20001)}))


def test_an_unknown_color_column_is_refused():
    with pytest.raises(LookupError, match="^got color='mont', which is no column; known columns are 'x', 'y'.$"):
        scatter(pd.DataFrame({"x": [1.0], "y": [1.0]}), "x", "y", color="mont")


def _lab(hex_color, blind):
    """CIELAB as a deuteranope sees it (Machado et al. 2009), to measure differences in."""
    rgb = np.array([int(hex_color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if blind:
        linear = np.clip(
            np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
            @ linear,
            0,
            1,
        )
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
        / [0.95047, 1, 1.08883]
    )
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("blind", [False, True])
def test_twelve_cyclic_colours_can_be_told_apart(blind):
    colors = np.array([_lab(color, blind) for color in cyclic_palette(12)])
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 100 * np.eye(12)
    assert apart.min() > 8
    # opposite labels are far apart, neighbours are near: the palette goes round
    assert np.mean([apart[i, (i + 6) % 12] for i in range(12)]) > 2 * np.mean(
        [apart[i, (i + 1) % 12] for i in range(12)]
    )
