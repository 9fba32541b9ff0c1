"""An altair chart as a widget that shares what is picked."""

from __future__ import annotations

import altair as alt
import pandas as pd
import pytest

from nbinterp.charts.clouds import scatter
from nbinterp.widgets.chart import Chart
from nbinterp.widgets.selection import Selection, link
from nbinterp.widgets.sharing import PICKED

FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [3.0, 1.0, 2.0], "word": ["a", "b", "<b>"], "row": [0, 1, 2]})


def points():
    return alt.Chart(FRAME).mark_point().encode(x="x:Q", y="y:Q")


def picking(part):
    """Return the conditions and parameters of a specification that name the shared rows."""
    if isinstance(part, dict):
        found = [part] if part.get("param") == PICKED or part.get("name") == PICKED else []
        return found + [one for value in part.values() for one in picking(value)]
    return [one for value in part for one in picking(value)] if isinstance(part, list) else []


def test_a_chart_with_rows_fades_what_is_not_picked():
    chart = Chart(points(), rows="row")
    parameter, condition = sorted(picking(chart.spec), key=lambda one: "param" in one)
    assert parameter["select"]["fields"] == ["row"]
    assert condition == {"param": PICKED, "value": 0.7}
    assert picking(Chart(points()).spec) == []


def test_one_parameter_serves_all_views():
    side_by_side = alt.hconcat(points().add_params(alt.selection_interval(name="brush")), points())
    chart = Chart(side_by_side, rows="row")
    assert sum("select" in one for one in picking(chart.spec)) == 1
    assert sum("param" in one for one in picking(chart.spec)) >= 2


def brushed(**more):
    return points().add_params(alt.selection_interval(name="brush")).properties(**more)


@pytest.mark.parametrize(
    "chart",
    [
        brushed(),
        alt.layer(brushed(), points().mark_line()),
        alt.hconcat(brushed(), points()),
        alt.hconcat(points(), brushed()),
        alt.vconcat(alt.layer(brushed(name="mine"), points()), points()),
    ],
)
def test_the_shared_rows_and_the_users_own_selection_are_both_in_the_drawn_chart(chart):
    import vl_convert

    drawn = vl_convert.vegalite_to_vega(Chart(chart, rows="row").to_dict())
    signals = {signal["name"] for signal in drawn["signals"]}
    assert signals >= {PICKED, "brush"}


def test_our_own_scatter_knows_its_rows():
    chart = Chart(scatter(FRAME, "x", "y", color="word"), rows="row")
    assert len(picking(chart.spec)) == 2


def test_an_opacity_of_the_users_own_stays():
    chart = Chart(points().encode(opacity=alt.value(0.3)), rows="row")
    assert chart.spec["encoding"]["opacity"] == {"value": 0.3}


def test_a_chart_without_that_field_is_refused():
    with pytest.raises(
        ValueError, match="got rows='line', but no view of the chart draws points or bars of data that hold"
    ):
        Chart(points(), rows="line")


def test_charts_of_different_tables_can_be_linked():
    a, b = Chart(points(), rows="row"), Chart(points(), rows="row")
    link(a, b)
    a.selection = {"rows": [2]}
    assert b.selection == Selection(rows=[2])


def test_the_numbers_are_texts():
    chart = Chart(points(), table=FRAME)
    assert chart.table == {
        "columns": ["x", "y", "word", "row"],
        "rows": [["1.0", "3.0", "a", "0"], ["2.0", "1.0", "b", "1"], ["3.0", "2.0", "<b>", "2"]],
    }
