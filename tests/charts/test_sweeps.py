import numpy as np
import pandas as pd
import pytest

from nbinterp.charts.sweeps import grid_chart, response_chart
from nbinterp.charts.theme import INK, OKABE_ITO
from tests.charts.test_charts import drawn, shows


def values_of(layer, spec):
    return spec["datasets"][layer["data"]["name"]] if "name" in layer["data"] else layer["data"]["values"]


def response(**columns):
    return pd.DataFrame({"scale": [-1.0, 0.0, 3.0], "logit": [0.0, 1.0, 4.0]} | columns)


def cells(values, rows=("a", "b.c[0]"), columns=(10, 2, 1)):
    return pd.DataFrame(
        [
            {"tokens": row, "layer": column, "kl": value}
            for (row, column), value in zip([(r, c) for r in rows for c in columns], values, strict=True)
        ]
    )


def test_a_response_has_its_line_and_its_rule():
    chart = response_chart(response(), "scale", "logit", base=1.5, unit="logits", title="<b>", subtitle="s")
    spec = chart.to_dict()
    rule, words, line = spec["layer"]
    assert (rule["mark"]["type"], line["mark"]["type"]) == ("rule", "line")
    assert values_of(rule, spec) == [{"y": 1.5, "text": "untouched"}]
    assert words["encoding"]["text"]["field"] == "text"
    assert [(v["x"], v["y"], v["run"]) for v in values_of(line, spec)] == [
        (-1, 0, "changed"),
        (0, 1, "changed"),
        (3, 4, "changed"),
    ]
    assert line["encoding"]["x"]["type"] == "quantitative"
    assert line["encoding"]["y"]["title"] == "logit (logits)"
    assert line["encoding"]["color"]["legend"] is None
    assert shows(chart, OKABE_ITO[0], INK)


def test_a_control_has_its_line_and_a_legend():
    chart = response_chart(response(control=[1.0, 1.5, 1.0]), "scale", "logit", base=1.0)
    spec = chart.to_dict()
    line = spec["layer"][-1]
    assert [v["run"] for v in values_of(line, spec)] == ["changed"] * 3 + ["control"] * 3
    assert line["encoding"]["color"]["legend"] is not None
    assert shows(chart, OKABE_ITO[0], OKABE_ITO[1])


@pytest.mark.parametrize("names", [["z", "a.b[0]", "m"], [True, False, "x"], [0, -1, "last"]])
def test_names_keep_their_order(names):
    chart = response_chart(response(scale=names), "scale", "logit", base=1.0)
    x = chart.to_dict()["layer"][-1]["encoding"]["x"]
    assert (x["type"], x["sort"]) == ("ordinal", [str(name) for name in names])
    assert shows(chart, OKABE_ITO[0])


def test_what_is_not_finite_leaves_a_gap():
    spec = response_chart(response(logit=[0.0, np.inf, 1.0]), "scale", "logit", base=1.0).to_dict()
    assert values_of(spec["layer"][-1], spec)[1]["y"] is None


def test_a_heat_map_diverges_about_the_untouched_value():
    chart = grid_chart(cells([1, 2, 3, 0, -2, 1]), "tokens", "layer", "kl", base=1.0, unit="nats")
    encoding = chart.to_dict()["encoding"]
    assert encoding["color"]["scale"]["domain"] == [-2, 1, 4]
    assert encoding["color"]["title"] == "kl (nats)"
    assert encoding["y"]["title"] == "tokens"
    assert encoding["y"]["sort"] == ["a", "b.c[0]"]
    assert encoding["x"]["title"] == "layer"
    assert encoding["x"]["sort"] == ["10", "2", "1"]
    assert shows(chart, OKABE_ITO[0], "#EEEEEE")


def test_cells_stand_where_they_belong():
    # one large change, in the last line and the first column
    picture = drawn(grid_chart(cells([0, 0, 0, 9, 0, 0]), "tokens", "layer", "kl", base=0.0))
    wanted = [int(OKABE_ITO[3][i : i + 2], 16) for i in (1, 3, 5)]
    # the legend lies to the right of the cells
    y, x = np.nonzero((np.abs(picture[..., :3].astype(int) - wanted).max(axis=2) < 4) & (picture[..., 3] > 250))
    cells_only = x < picture.shape[1] / 2
    pale = np.abs(picture[..., :3].astype(int) - 0xEE).max(axis=2) < 4
    pale_y, pale_x = np.nonzero(pale & (picture[..., 3] > 250))
    assert y[cells_only].min() > pale_y.min()
    assert x[cells_only].max() < np.median(pale_x)


@pytest.mark.parametrize("values", [[1.0] * 6, [np.nan] * 6, [1, 2, np.nan, np.inf, 0, 1]])
def test_nothing_to_see_is_drawn_too(values):
    chart = grid_chart(cells(values), "tokens", "layer", "kl", base=1.0)
    domain = chart.to_dict()["encoding"]["color"]["scale"]["domain"]
    assert domain == [0, 1, 2]
    assert drawn(chart).any()


def test_too_many_cells_are_refused():
    frame = cells(np.zeros(20001), rows=range(20001), columns=[0])
    with pytest.raises(
        ValueError, match=r"^got 20001 rows to draw; a chart holds at most 20000: draw them with nb.scatter"
    ):
        grid_chart(frame, "tokens", "layer", "kl", base=0.0)
