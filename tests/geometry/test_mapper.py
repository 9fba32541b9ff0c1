import re

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN, AgglomerativeClustering

from nbinterp.geometry.mapper import _betti, _edges, mapper
from tests.geometry import planted


def around(n):
    return np.linspace(0, 2 * np.pi, n, endpoint=False)


def circle(n=300):
    angle = around(n)
    return np.column_stack([np.cos(angle), 0.9 * np.sin(angle)])


def eight(n=400):
    angle = around(n)
    return np.column_stack([1.5 * np.sin(angle), np.sin(angle) * np.cos(angle)])


def line(n=200):
    return np.column_stack([np.linspace(-1, 1, n), np.zeros(n)])


def two_lines(n=200):
    return np.vstack([line(n), line(n) + np.array([0, 5])])


@pytest.mark.parametrize(("shape", "betti"), [(circle, (1, 1)), (eight, (1, 2)), (line, (1, 0)), (two_lines, (2, 0))])
def test_the_graph_has_the_shape_of_the_cloud(shape, betti):
    points = shape()
    found = mapper(points, lens=points[:, 0])
    assert (found.components, found.loops) == betti
    assert found.agreement > 0.75


def test_a_noisy_circle_in_many_features_is_one_loop():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 600)
    rows = 3 * np.column_stack([np.cos(angle), np.sin(angle)]) @ planted.frame_of(64, 2)
    found = mapper(rows + 0.1 * rng.normal(size=rows.shape), n_components=2)
    assert (found.components, found.loops) == (1, 1)


def test_two_coordinates_of_a_lens_make_triangles_that_are_filled():
    points = np.random.default_rng(0).uniform(size=(1500, 2))
    found = mapper(points, lens=points, n_cubes=5)
    assert (found.components, found.loops) == (1, 0)


def test_components_and_loops_are_those_of_the_nerve():
    gudhi = pytest.importorskip("gudhi")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        nodes = [np.flatnonzero(rng.random(30) < 0.15) for _ in range(14)]
        nodes = [node for node in nodes if len(node)]
        tree = gudhi.SimplexTree()
        for row in range(30):
            at = [i for i, node in enumerate(nodes) if row in node]
            if at:
                tree.insert(at)
        tree.prune_above_dimension(2)
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
        assert _betti(nodes, _edges(nodes)[0]) == tuple(tree.betti_numbers()[:2])


def test_the_grid_holds_the_setting_itself_and_eight_others():
    points = circle()
    found = mapper(points, lens=points[:, 0], n_cubes=10, overlap=0.3)
    assert len(found.grid) == 9
    own = found.grid[(found.grid["n_cubes"] == 10) & np.isclose(found.grid["overlap"], 0.3)].iloc[0]
    assert (own["components"], own["loops"], own["n_nodes"]) == (found.components, found.loops, len(found.nodes))
    assert "Mapper is fragile: " in repr(found)


def test_noise_says_that_it_is_fragile():
    found = mapper(np.random.default_rng(0).uniform(size=(60, 2)))
    assert found.agreement < 0.75
    assert "so do not rest on them" in repr(found)


def test_nodes_point_back_to_rows_and_are_named():
    cloud = planted.months()
    found = mapper(cloud, within="template", n_components=2, n_cubes=6)
    members = found.members()
    assert set(members["row"]) <= set(range(len(cloud)))
    table = cloud.table
    for node, rows in enumerate(found.nodes):
        top = found.names[(found.names["cluster"] == node) & (found.names["column"] == "month")]
        for line in top.itertuples():
            assert line.n_in == (table["month"].iloc[list(rows)] == line.value).sum()
    assert "month=" in found.frame()["name"].str.cat()
    assert str(found.site) == planted.SITE
    assert np.isfinite(found.positions).all()
    assert found.links()["n_shared"].min() >= 1


def test_rows_set_aside_are_in_no_node():
    rows, labels, groups = planted.labelled(planted.circle(12))
    rows[7] *= 100
    found = mapper(planted.cloud_of(rows, labels, groups), within="template", n_components=2)
    assert 7 not in set(found.members()["row"])
    assert max(found.members()["row"]) > 150


def test_a_column_is_a_lens_and_a_clusterer_can_be_chosen():
    rows, labels, groups = planted.labelled(planted.line(12))
    cloud = planted.cloud_of(rows, labels, groups)
    found = mapper(cloud, lens="template", n_components=2, clusterer=AgglomerativeClustering(n_clusters=2))
    assert found.lens_name == "template"
    assert "AgglomerativeClustering" in found.provenance


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"lens": "month"},
            ValueError,
            "got lens='month', whose values are no numbers; choose a column of numbers, or 'pca1'.",
        ),
        ({"lens": "months"}, LookupError, "got lens='months', which is no column of the table"),
        (
            {"lens": np.zeros(180)},
            ValueError,
            "got a lens that does not vary; wanted different values to cut along: choose another.",
        ),
        ({"lens": np.zeros(3)}, ValueError, "got a lens of shape [3] for 180 rows; wanted [row] or [row, k]."),
        (
            {"lens": np.full(180, np.nan)},
            ValueError,
            "got a lens with NaN or infinite numbers; wanted a finite one for each row.",
        ),
        ({"lens": "pca2", "n_components": 1}, ValueError, "got lens='pca2' and rows of 1 component; choose 'pca1'"),
        (
            {"overlap": 0.9},
            ValueError,
            "got n_cubes=10, overlap=0.9; wanted at least 2 slices and an overlap of 0.05 to 0.6.",
        ),
        (
            {"clusterer": DBSCAN(eps=1e-9, min_samples=5)},
            ValueError,
            "got no cluster in any slice of the lens; wanted at least one: take fewer slices, more overlap, or another clusterer.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(options, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        mapper(planted.months(), **options)


def test_too_few_rows():
    with pytest.raises(ValueError, match="^got 4 rows; wanted at least 6 for a graph: collect more rows.$"):
        mapper(np.random.default_rng(0).normal(size=(4, 3)))


def test_frames_have_their_columns():
    found = mapper(circle())
    assert list(found.frame().columns) == ["node", "n_rows", "lens", "x", "y", "name"]
    assert isinstance(found.grid, pd.DataFrame)
    assert found.frame()["name"].str.startswith("node ").all()
