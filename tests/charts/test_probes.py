import numpy as np
import pandas as pd

from nbinterp.charts.clusters import mapper_chart
from nbinterp.charts.probes import PLACES, dimension_chart, encoding_chart, probe_chart, reducibility_chart
from nbinterp.charts.theme import OKABE_ITO
from nbinterp.geometry.clusters import clusters
from nbinterp.geometry.dimension import intrinsic_dimension
from nbinterp.geometry.encoding import encoding_map
from nbinterp.geometry.mapper import mapper
from nbinterp.geometry.probes import probe
from nbinterp.geometry.reducibility import reducibility
from tests.charts.test_charts import drawn, shows
from tests.geometry import planted


def test_results_draw_themselves():
    cloud = planted.months()
    report = probe(cloud, "month", within="template", types="month", n_permutations=19)
    assert shows(report.chart(), OKABE_ITO[0], OKABE_ITO[1])
    found = encoding_map({planted.SITE: cloud}, ["month"], within="template", n_permutations=99)
    assert shows(found.chart(), PLACES["multi-dimensional"])
    assert shows(intrinsic_dimension(cloud, within="template", n_components=2).chart(), OKABE_ITO[0])
    assert shows(reducibility(cloud, within="template").chart(), OKABE_ITO[0])
    rows = np.random.default_rng(0).normal(size=(100, 3)) + 20 * np.repeat([[0], [1]], 50, axis=0)
    assert shows(clusters(rows).chart(), OKABE_ITO[0], OKABE_ITO[1])
    assert drawn(mapper(cloud, within="template", n_components=2).chart()).any()


def test_clusters_are_drawn_even_where_there_are_none():
    found = clusters(np.random.default_rng(0).normal(size=(80, 3)), min_cluster_size=30)
    assert drawn(found.chart()).any()
    assert "nothing here" in str(found.chart().to_dict()["title"])


def test_places_differ_by_sign_as_well_as_colour():
    frame = pd.DataFrame(
        {
            "attribute": ["a"] * 4,
            "site": list("wxyz"),
            "place": list(PLACES),
            "shape": "circle",
            "linear": 0.5,
            "kernel": 0.6,
            "chance": 0.1,
            "gain": 0.1,
            "gain_low": 0.0,
            "gain_high": 0.2,
            "dimensions": 1,
            "p": 0.1,
            "reasons": "because",
        }
    )
    chart = encoding_chart(frame)
    assert shows(chart, *PLACES.values())
    cells = next(v for v in chart.to_dict()["datasets"].values() if "sign" in v[0])
    assert len({cell["sign"] for cell in cells}) == 4


def test_hostile_names_are_data():
    nodes = pd.DataFrame(
        {
            "node": [0, 1],
            "n_rows": [3, 4],
            "lens": [0.0, 1.0],
            "x": [0.0, 1.0],
            "y": [0.0, 1.0],
            "name": ["<img src=x>", "datum.x"],
        }
    )
    links = pd.DataFrame({"source": [0], "target": [1], "n_shared": [2]})
    assert drawn(mapper_chart(nodes, links, lens="a.b[c]", title="<b>")).any()
    scores = pd.DataFrame(
        {"probe": ["<b>"], "score": [0.4], "error": [0.1], "control": [np.nan], "selectivity": [np.nan], "p": [1.0]}
    )
    assert drawn(probe_chart(scores, chance=0.5, measure="R²", title="a.b[c]")).any()


def test_a_graph_without_edges_is_drawn():
    nodes = pd.DataFrame({"node": [0], "n_rows": [3], "lens": [0.0], "x": [0.0], "y": [0.0], "name": ["one"]})
    links = pd.DataFrame({"source": [], "target": [], "n_shared": []}).astype(int)
    assert drawn(mapper_chart(nodes, links, lens="x")).any()


def test_large_planes_are_thinned():
    points = pd.DataFrame(np.random.default_rng(0).normal(size=(30_000, 2)), columns=["x", "y"])
    turns = pd.DataFrame({"degrees": [0.0, 45.0], "bits": [0.1, 0.2]})
    spec = reducibility_chart(points, turns, null=0.05).to_dict()
    assert max(len(values) for values in spec["datasets"].values()) == 5000


def test_dimensions_without_an_interval_are_drawn():
    frame = pd.DataFrame(
        {"rows": ["projected"], "n_points": [60], "scale": [0.1], "estimate": [1.2], "low": [np.nan], "high": [np.nan]}
    )
    assert drawn(dimension_chart(frame)).any()
