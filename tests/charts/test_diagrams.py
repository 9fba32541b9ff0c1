import numpy as np
import pandas as pd

from nbinterp.charts.diagrams import KINDS, MOST_BARS, bar_chart, longest_lived, persistence_chart
from nbinterp.charts.theme import INK, OKABE_ITO
from nbinterp.geometry import persistence
from nbinterp.geometry.tracking import diagrams_across
from nbinterp.geometry.vectors import betti_curves, landscape, persistence_image
from tests.charts.test_charts import drawn, shows
from tests.geometry import planted


def noisy_circle(n=80):
    return planted.circle(n, radius=1) + 0.05 * np.random.default_rng(0).normal(size=(n, 2))


def data_of(spec, column):
    return [line for values in spec["datasets"].values() if values and column in values[0] for line in values]


def test_what_is_made_of_a_diagram_draws_itself():
    diagram = persistence(noisy_circle())
    assert shows(diagram.barcode(), OKABE_ITO[3], OKABE_ITO[6], INK)
    assert shows(betti_curves(diagram).chart(), OKABE_ITO[3], OKABE_ITO[6])
    assert shows(landscape(diagram).chart(), INK)
    assert shows(persistence_image(diagram).chart(), INK)


def test_an_empty_dimension_is_drawn_too():
    diagram = persistence(np.random.default_rng(0).normal(size=(3, 2)))
    assert not len(diagram.h1)
    for chart in (
        diagram.chart(),
        diagram.barcode(),
        betti_curves(diagram).chart(),
        landscape(diagram).chart(),
        persistence_image(diagram).chart(),
    ):
        assert drawn(chart).size


def test_loops_from_site_to_site_are_joined_where_they_live_on():
    clouds = {"a": noisy_circle(), "b": noisy_circle()[:, ::-1], "c": np.random.default_rng(0).normal(size=(80, 2))}
    found = diagrams_across(clouds, n_tracked=1)
    assert shows(found.chart(), OKABE_ITO[3])
    spec = found.chart().to_dict()
    (line,) = data_of(spec, "next_ratio")
    assert (line["site"], line["next_site"]) == ("a", "b")
    assert spec["layer"][0]["encoding"]["x"]["sort"] == ["a", "b", "c"]
    gone = diagrams_across({"a": clouds["a"], "c": clouds["c"]}, n_tracked=1).chart().to_dict()
    assert not data_of(gone, "next_ratio")


def test_many_classes_are_cut_to_the_longest_lived_and_said():
    n = 5000
    births = np.random.default_rng(0).uniform(size=n)
    frame = pd.DataFrame(
        {
            "class_id": [f"H1.{i}" for i in range(n)],
            "dimension": 1,
            "birth": births,
            "death": births + np.arange(n, 0, -1) / n,
            "persistence": np.arange(n, 0, -1) / n,
            "ratio": 2.0,
            "n_rows": 4,
        }
    )
    spec = persistence_chart(frame, subtitle="what was seen").to_dict()
    assert {line["class_id"] for line in data_of(spec, "class_id")} == {f"H1.{i}" for i in range(2000)}
    assert spec["title"]["subtitle"] == ["what was seen", "the 2000 longest-lived of each dimension, of 5000 classes"]
    bars = bar_chart(frame).to_dict()
    assert len(data_of(bars, "class_id")) == MOST_BARS
    assert bars["vconcat"][0]["title"]["text"] == f"{KINDS[1]}: the {MOST_BARS} longest of 5000"


def test_the_longest_lived_are_taken_in_each_dimension():
    frame = persistence(noisy_circle()).frame()
    kept, note = longest_lived(frame, 3)
    assert kept["class_id"].tolist()[:3] == ["H0.0", "H0.1", "H0.2"]
    assert (kept["dimension"] == 1).sum() == min(3, (frame["dimension"] == 1).sum())
    assert note
    assert longest_lived(frame, 1000)[1] == ""
