import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA

from nbinterp.geometry import pca, prepare, umap
from nbinterp.geometry.neighbors import neighbor_graph
from tests.geometry import planted


def test_importing_geometry_and_charts_loads_no_heavy_engine():
    code = (
        "import sys, nbinterp.geometry, nbinterp.geometry.layout, nbinterp.geometry.alignment; "
        "print([m for m in ('umap', 'numba', 'pynndescent', 'ripser', 'torch', 'altair', 'zarr') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pca_shows_the_planted_plane():
    cloud = planted.months(noise=0.05)
    shown = pca(cloud, within="template")
    assert shown.explained_variance_ratio.sum() > 0.95
    assert shown.faithfulness > 0.5 > shown.faithfulness_null == pytest.approx(15 / 179)
    frame = shown.frame()
    assert frame.columns.tolist() == ["row", "pc1", "pc2", "text", "prompt", "token", "position", "month", "template"]
    radii = np.hypot(*frame.groupby("month")[["pc1", "pc2"]].mean().to_numpy().T)
    np.testing.assert_allclose(radii, 3, rtol=0.05)
    assert "180 rows of 64 features at resid_post.3; centred within template" in repr(shown)


def test_pca_is_that_of_scikit_learn_and_places_new_rows():
    points = planted.months().points
    shown, theirs = pca(points, 5), PCA(5).fit(points)
    signs = np.sign((shown.layout * theirs.transform(points)).sum(axis=0))
    np.testing.assert_allclose(shown.layout * signs, theirs.transform(points), atol=1e-8)
    np.testing.assert_allclose(shown.explained_variance_ratio, theirs.explained_variance_ratio_)
    new = points[:7] + 0.5
    np.testing.assert_allclose(shown.transform(new) * signs, theirs.transform(new), atol=1e-8)


def test_rows_set_aside_have_no_coordinates():
    rows = planted.labelled(planted.circle(12))[0]
    rows[3] *= 100
    shown = pca(rows)
    assert np.flatnonzero(np.isnan(shown.coordinates[:, 0])).tolist() == [3]
    assert np.flatnonzero(np.isnan(shown.report().lost)).tolist() == [3]


def test_landmarks_stand_for_their_rows():
    prepared = prepare(planted.months(), 2, within="template", landmarks=40)
    shown = pca(prepared)
    assert shown.layout.shape == (40, 2)
    assert shown.coordinates.shape == (180, 2)
    same = prepared.point_of_row == prepared.point_of_row[0]
    assert (shown.coordinates[same] == shown.coordinates[0]).all()


def test_a_gaussian_null_is_about_as_faithful_as_a_gaussian():
    points = np.random.default_rng(0).normal(size=(200, 6)) * [3, 2, 1, 1, 1, 1]
    shown = pca(points, null="gaussian")
    assert shown.faithfulness == pytest.approx(shown.faithfulness_null, abs=0.05)
    assert shown.faithfulness > 2 * 15 / 199
    report = shown.report()
    assert report.null == "gaussian"
    assert report.trustworthiness == pytest.approx(report.trustworthiness_null, abs=0.03)
    assert "of a Gaussian of this covariance" in report.verdict


def test_a_gaussian_null_with_more_features_than_rows():
    wide = np.random.default_rng(0).normal(size=(60, 200))
    shown = pca(wide, null="gaussian")
    assert shown.null.source.points.var() == pytest.approx(wide.var(), rel=0.1)
    assert shown.null.layout.shape == (60, 2)


def test_one_graph_serves_all():
    graph = neighbor_graph(planted.months(), 20, within="template")
    flat, spread = pca(graph), umap(graph, n_epochs=20)
    assert flat.graph is spread.graph is graph
    assert flat.source is spread.source
    assert flat.report().neighbours_kept == flat.faithfulness
    assert "20 nearest neighbours" in spread.provenance


def test_umap_keeps_the_clusters_and_repeats_to_the_bit():
    cloud = planted.months()
    one, other = (umap(cloud, within="template", n_epochs=30) for _ in range(2))
    np.testing.assert_array_equal(one.coordinates, other.coordinates)
    assert one.columns == ("umap1", "umap2")
    assert one.faithfulness > 0.4
    means = one.frame().groupby("month")[["umap1", "umap2"]].transform("mean")
    within = np.linalg.norm(one.coordinates - means.to_numpy(), axis=1).mean()
    assert within < 0.3 * np.linalg.norm(one.coordinates - one.coordinates.mean(axis=0), axis=1).mean()


@pytest.mark.parametrize("init", ["random", pytest.param("spectral", marks=pytest.mark.slow)])
def test_umap_starts_elsewhere_and_finds_the_same_clusters(init):
    rows = planted.labelled(12 * np.eye(4), n_groups=40, noise=1.0)[0]
    groups = np.repeat(np.arange(40), 4)
    shown = umap(rows, within=groups, init=init, n_epochs=100)
    means = np.stack([shown.coordinates[i::4].mean(axis=0) for i in range(4)])
    nearest = np.linalg.norm(shown.coordinates[:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == np.tile(np.arange(4), 40)).mean() > 0.99
    assert shown.faithfulness > umap(rows, within=groups, init=init, n_epochs=1).faithfulness


def test_umap_of_a_circle_is_a_circle():
    angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)]) @ planted.frame_of(20, 2)
    shown = umap(circle).coordinates
    centred = shown - shown.mean(axis=0)
    turns = np.diff(np.unwrap(np.arctan2(*centred.T)))
    assert abs(turns.sum()) == pytest.approx(2 * np.pi, rel=0.02)
    assert np.linalg.norm(centred, axis=1).min() > 0.3 * np.linalg.norm(centred, axis=1).max()


def test_densmap_keeps_densities():
    rng = np.random.default_rng(0)
    # three clusters of radii 1, 4 and 16
    points = np.concatenate([scale * rng.normal(size=(150, 10)) + 200 * i for i, scale in enumerate((1, 4, 16))])
    plain, dense = (umap(points, densmap=densmap) for densmap in (False, True))
    radius = [
        [np.linalg.norm(c - c.mean(axis=0), axis=1).mean() for c in np.split(shown.layout, 3)]
        for shown in (plain, dense)
    ]
    assert radius[1][0] < radius[1][1] < radius[1][2]
    assert radius[1][2] / radius[1][0] > 2 * radius[0][2] / radius[0][0]
    assert dense.report().stretch.std() < 0.8 * plain.report().stretch.std()
    assert dense.method == "densmap"
    assert dense.columns == ("umap1", "umap2")


def test_new_rows_come_to_lie_among_their_own():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(5, 30))
    labels, new_labels = np.repeat(np.arange(5), 60), np.repeat(np.arange(5), 8)
    shown = umap(centres[labels] + rng.normal(size=(300, 30)), n_epochs=100)
    placed = shown.transform(centres[new_labels] + rng.normal(size=(40, 30)))
    assert placed.shape == (40, 2)
    means = np.stack([shown.coordinates[labels == i].mean(axis=0) for i in range(5)])
    assert (np.linalg.norm(placed[:, None] - means, axis=2).argmin(axis=1) == new_labels).all()
    # an old row comes to lie beside itself
    again = shown.transform(shown.source.source.points[:50])
    extent = np.linalg.norm(shown.coordinates - shown.coordinates.mean(axis=0), axis=1).mean()
    assert np.median(np.linalg.norm(again - shown.coordinates[:50], axis=1)) < 0.1 * extent


def test_new_rows_of_a_picture_centred_within_groups_take_the_means_of_the_old_ones():
    cloud = planted.months()
    shown = pca(cloud, within="template")
    groups = cloud.table["template"].tolist()
    assert shown.transform(cloud, groups="template") == pytest.approx(shown.coordinates)
    # a group's mean is the old one: what moved all of a group stays moved
    pushed = shown.transform(cloud.points + 2, groups=groups) - shown.coordinates
    assert pushed == pytest.approx(np.broadcast_to(pushed[0], pushed.shape))
    assert np.abs(pushed).max() > 0.01
    with pytest.raises(
        ValueError, match=r"^got a new row of the group 'no', which the picture has no row of; wanted groups among "
    ):
        shown.transform(cloud.points[:1], groups=["no"])
    with pytest.raises(
        ValueError, match=r"^got groups for new rows of a picture whose rows were not centred within groups"
    ):
        pca(cloud).transform(cloud, groups="template")


def test_a_report_of_umap_is_better_than_chance_and_draws_itself():
    shown = umap(planted.months(), within="template", n_epochs=50)
    report = shown.report()
    assert report.neighbours_kept == shown.faithfulness > 4 * report.neighbours_kept_null
    assert report.trustworthiness > 0.8
    assert report.lost.shape == (180,)
    assert "keeps" in report.chart().to_json()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: umap(x, n_neighbors=10), "got n_neighbors=10 for 10 rows; wanted at least 2 and fewer than rows."),
        (lambda x: umap(x, n_neighbors=2.5), "got n_neighbors=2.5 for 10 rows; wanted at least 2 and fewer than rows."),
        (lambda x: umap(x, n_neighbors=5, min_dist=2), "got min_dist=2; wanted a number from 0 to 1."),
        (lambda x: umap(x, n_neighbors=5, init="best"), "got init='best'; choose 'pca', 'spectral' or 'random'."),
        (lambda x: umap(x, n_neighbors=5, n_epochs=0), "got n_epochs=0; wanted at least 1."),
        (lambda x: umap(x, n_neighbors=5, null="none"), "got null='none'; choose 'chance' or 'gaussian'."),
        (lambda x: umap(0 * x + 0.1, n_neighbors=5), "got 10 rows that are all equal; wanted rows that differ."),
        (
            lambda x: umap(neighbor_graph(x, 3), n_neighbors=5),
            "got n_neighbors=5 for a graph of 3 neighbours; wanted at most 4: make the graph with a larger k.",
        ),
        (lambda x: umap(x[:1]), "got 1 usable row; wanted at least 2: collect more rows, or raise max_norm_ratio."),
        (
            lambda x: umap(x * np.nan),
            "got NaN or infinite numbers in 10 of 10 rows (the first is row 0); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16.",
        ),
        (lambda x: pca(x, 7), "got n_components=7 for 10 rows of 6 features; choose 1 to 6."),
        (lambda x: pca(x).transform(x[:, :5]), "got new rows of 5 features for a picture of 6; wanted as many."),
        (
            lambda x: pca(x, within=list("ababababab")).transform(x),
            "got new rows for a picture of rows that were centred within groups, to none of which they belong; "
            "wanted old and new rows centred alike: say the groups of the new ones with groups=, or centre them first, and make the "
            "picture without within.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call(np.random.default_rng(0).normal(size=(10, 6)))


def test_duplicates_and_constant_features_do_no_harm():
    rows = np.random.default_rng(0).normal(size=(40, 4)).repeat(3, axis=0)
    rows[:, 1] = 5
    for shown in (pca(rows), umap(rows, n_neighbors=5, n_epochs=20)):
        assert np.isfinite(shown.coordinates).all()
        assert np.isfinite(shown.faithfulness)


def test_a_column_that_would_be_overwritten_is_refused():
    cloud = planted.months()
    table = cloud.table.assign(pc1=1.0)
    again = type(cloud).from_arrays({planted.SITE: cloud.points}, table, cloud.model)
    with pytest.raises(
        ValueError, match="^got a table with a column 'pc1', which this frame needs for itself: rename the column.$"
    ):
        pca(again).frame()
