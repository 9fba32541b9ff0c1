"""The scatter of a table: what goes to the page, what is picked, and which of the two ways draws it."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest
import traitlets

import nbinterp as nb
from nbinterp.widgets.chart import Chart
from nbinterp.widgets.scatter import Scatter, scatter

WICKED = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "kind": ["u", WICKED] * 20, "text": "t"})


@pytest.fixture
def answers(table, monkeypatch):
    """A scatter, and what it answers to a question of its page."""
    plot = Scatter(table, "a", "b", color="kind")
    sent = []
    monkeypatch.setattr(plot, "send", lambda content, buffers=None: sent.append(content))

    def ask(what, **details):
        plot._handle_custom_msg({"ask": 7, "what": what, **details}, [])
        return sent[-1]

    return ask


def test_the_page_gets_places_and_columns(table):
    table.loc[3, "b"] = np.inf
    plot = Scatter(table, "a", "b", color="kind", title="A table")
    xy = np.frombuffer(plot.points["xy"], dtype="<f4").reshape(-1, 2)
    wanted = table[["a", "b"]].to_numpy(np.float32, copy=True)
    wanted[3, 1] = np.nan
    np.testing.assert_array_equal(xy, wanted)
    assert plot.spec == {
        "n": 40,
        "title": "A table",
        "x": "a",
        "y": "b",
        "choices": ["a", "b", "kind", "text"],
        "note": "",
    }
    assert [column["name"] for column in plot.columns] == ["kind", "a", "b", "text"]


def test_what_is_picked_is_lines_of_the_table(table):
    plot = Scatter(table, "a", "b")
    assert plot.selected.empty
    assert plot.selectable == {"rows": 40}
    plot.selection = {"rows": table["a"] > 0}
    pd.testing.assert_frame_equal(plot.selected, table[table["a"] > 0])
    plot.selection = {"rows": [1, 400]}
    assert plot.selected.index.tolist() == [1]
    with pytest.raises(traitlets.TraitError):
        plot.selection = [1, 2]


def test_linked_plots_share_it(table):
    one, other = Scatter(table, "a", "b"), Scatter(table, "b", "a")
    nb.widgets.selection.link(one, other)
    one.selection = {"rows": [4]}
    assert other.selection.rows.tolist() == [4]


def test_a_page_asks_about_rows(answers):
    reply = answers("rows", rows=[1, 99, -1])
    assert (reply["reply"], reply["problem"], reply["columns"]) == (7, "", ["a", "b", "kind", "text"])
    (fact,) = reply["facts"]
    assert fact["row"] == 1
    assert fact["cells"][2:] == [WICKED, "t"]


def test_a_column_is_sent_when_it_is_chosen(table, monkeypatch):
    monkeypatch.setattr("nbinterp.widgets.scatter._MOST_BYTES", 100)
    plot = Scatter(table, "a", "b", color="kind")
    assert [column["name"] for column in plot.columns] == ["kind"]
    plot.color = "text"
    assert [column["name"] for column in plot.columns] == ["text"]
    plot.color = "gone"
    assert plot.problem == "got color='gone', which is no column; known columns are 'a', 'b', 'kind', 'text'."
    plot.color = ""
    assert [column["name"] for column in plot.columns] == ["text"]


def test_a_chart_of_a_sample_says_so(table):
    plot = Scatter(table, "a", "b", color="kind", title="A table")
    spec = plot.chart(most=10).to_dict()
    assert spec["title"]["subtitle"] == "10 of 40 rows, taken at random"
    assert max(len(data) for data in spec["datasets"].values()) == 10
    assert plot.chart().to_dict()["title"].get("subtitle", "") == ""


def test_a_saved_notebook_keeps_a_picture_and_the_numbers(table):
    data, _ = Scatter(table, "a", "b", color="kind")._repr_mimebundle_()
    assert data["text/plain"] == "scatter of 40 points, a across and b up, coloured by kind."
    assert "data:image/png;base64," in data["text/html"]
    assert "<img src=x" not in data["text/html"]
    assert "&lt;img src=x" in data["text/html"]


def test_a_page_of_its_own_holds_the_points_and_no_code_of_the_labels(table, tmp_path):
    plot = Scatter(table, "a", "b", color="kind")
    written = plot.to_html(tmp_path / "plot.html")
    assert (tmp_path / "plot.html").read_text() == written
    assert base64.b64encode(plot.points["xy"]).decode() in written
    assert WICKED not in written
    assert len(written) < 2_000_000


def test_a_notebook_keeps_the_state_of_few_points_only(table, monkeypatch):
    def kept(plot):
        return plot._repr_mimebundle_()[0]["application/vnd.nbinterp.widget+json"]

    first, again = kept(Scatter(table, "a", "b")), kept(Scatter(table, "a", "b", color="kind"))
    assert first["origin"] == again["origin"] != kept(Scatter(table * 2, "a", "b"))["origin"]
    assert first["state"]["spec"]["n"] == 40
    monkeypatch.setattr("nbinterp.widgets.scatter._MOST_KEPT", 39)
    assert kept(Scatter(table, "a", "b")) == {"kind": "scatter"}


def test_an_embedding_knows_its_axes(table):
    cloud = np.random.default_rng(0).normal(size=(40, 5))
    plot = Scatter(nb.pca(cloud), color="row")
    assert (plot.spec["x"], plot.spec["y"], plot.color) == ("pc1", "pc2", "row")


def test_few_rows_are_a_chart_and_many_a_scatter(monkeypatch, table):
    chart = scatter(table, "a", "b", color="kind")
    assert isinstance(chart, Chart)
    assert chart.spec["params"][0]["name"] == "brush"
    assert chart.row_field == "row"
    assert scatter(table.assign(row=7), "a", "row").row_field == ""
    monkeypatch.setattr("nbinterp.widgets.scatter.MAX_ROWS", 39)
    plot = scatter(table, "a", "b", color="kind")
    assert isinstance(plot, Scatter)
    assert plot.spec["note"] == "40 points, drawn by nbinterp's own WebGL scatter: altair draws up to 39 smoothly."


@pytest.mark.parametrize("draw", [Scatter, scatter])
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x": "c"}, LookupError, r"^got x='c', which is no column; known columns are 'a', 'b', 'kind', 'text'\.$"),
        ({"x": None}, ValueError, r"^got x=None and y='b'; name two columns of the table: 'a', 'b', 'kind', 'text'\.$"),
        ({"color": "c"}, LookupError, r"^got color='c', which is no column; known columns are"),
        ({"tooltip": ["c"]}, LookupError, r"^got tooltip='c', which is no column; known columns are"),
        (
            {"y": "kind"},
            ValueError,
            r"^got column 'kind' of \w+ for an axis; wanted numbers: make them with pd\.to_numeric\.$",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, table, change, error, said):
    with pytest.raises(error, match=said):
        draw(table, **({"x": "a", "y": "b"} | change))


def test_other_things_are_refused(table):
    with pytest.raises(
        TypeError, match=r"^got list to draw; wanted a DataFrame, such as cloud\.table, or what nb\.pca"
    ):
        Scatter([1, 2], "a", "b")
    with pytest.raises(ValueError, match=r"^got a table without lines to draw; wanted at least one\.$"):
        Scatter(table.iloc[:0], "a", "b")
    with pytest.raises(ValueError, match=r"^got a table with two columns 'a'; rename one of them\.$"):
        Scatter(table.set_axis(["a", "a", "k", "t"], axis=1), "a", "k")
