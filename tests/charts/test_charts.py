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


def values(spec, layer):
    return spec["datasets"][layer["data"]["name"]]


def written(spec):
    return [
        value["text"] for layer in spec["layer"] if layer["mark"]["type"] == "text" for value in values(spec, layer)
    ]


def test_labels_that_would_run_over_one_another_are_told_by_the_legend():
    rng = np.random.default_rng(0)
    names = [f"We met in the month of {'spring' * i}" for i in range(1, 5)]
    points = pd.DataFrame({"x": rng.normal(size=400), "y": rng.normal(size=400), "kind": np.tile(names, 100)})
    # centred within a group, all of its means are one point
    points[["x", "y"]] -= points.groupby("kind")[["x", "y"]].transform("mean")
    spec = scatter(points, "x", "y", color="kind").to_dict()
    assert written(spec) == []
    assert spec["layer"][0]["encoding"]["color"]["legend"]["title"] == "kind"
    # one that lies elsewhere is written, and cut where it is long
    points.loc[points["kind"] == names[3], "y"] += 9
    spec = scatter(points, "x", "y", color="kind").to_dict()
    assert written(spec) == ["We met in the month of spri…"]
    assert spec["layer"][0]["encoding"]["color"]["legend"]["title"] == "kind"
    # two beside each other are written above and below
    points.loc[points["kind"] == names[2], ["x", "y"]] += [1, 9]
    assert len(written(scatter(points, "x", "y", color="kind").to_dict())) == 2
    points["y"] += 20 * points["kind"].map(names.index)
    spec = scatter(points, "x", "y", color="kind").to_dict()
    assert len(written(spec)) == 4
    assert spec["layer"][0]["encoding"]["color"]["legend"] is None


def test_the_same_points_somewhere_else_are_rings():
    points = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [0.0, 1.0, 0.0], "kind": ["one", "two", "one"]})
    moved = points.assign(a=points["a"] + 5, b=[1.0, np.nan, 2.0])
    chart = scatter(points, "a", "b", color="kind", axes=("across", "up"), again=moved, again_name="steered")
    spec = chart.to_dict()
    dots, rings = spec["layer"][:2]
    assert (len(values(spec, dots)), len(values(spec, rings))) == (3, 2)
    assert rings["encoding"]["color"] == dots["encoding"]["color"]
    assert spec["title"]["subtitle"] == "○ steered"
    # numbers that are labels are the same ones in both
    spec = scatter(points.assign(kind=[1, 2, 1]), "a", "b", color="kind", again=moved.assign(kind=[1, 2, 1])).to_dict()
    assert [{value["label"] for value in values(spec, layer)} for layer in spec["layer"][:2]] == [{"1", "2"}, {"1"}]
    spec = chart.to_dict()
    assert [spec["layer"][0]["encoding"][axis]["title"] for axis in "xy"] == ["across", "up"]
