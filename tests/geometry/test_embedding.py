import re
import subprocess
import sys

import numpy as np
import pytest

from nbinterp.geometry import neighbours_kept, pca, umap
from tests.geometry import planted


def test_importing_geometry_and_charts_loads_no_heavy_engine():
    code = "import sys, nbinterp.geometry; print([m for m in ('umap', 'numba', 'ripser', 'torch', 'altair', 'zarr') if m in sys.modules])"
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


def test_rows_set_aside_have_no_coordinates():
    rows = planted.labelled(planted.circle(12))[0]
    rows[3] *= 100
    shown = pca(rows)
    assert np.flatnonzero(np.isnan(shown.coordinates[:, 0])).tolist() == [3]


def test_neighbours_kept_by_a_copy_and_by_chance():
    points = np.random.default_rng(0).normal(size=(200, 5))
    assert neighbours_kept(points, 3 * points) == 1
    random = [neighbours_kept(points, np.random.default_rng(i).normal(size=(200, 2))) for i in range(20)]
    assert np.mean(random) == pytest.approx(15 / 199, abs=0.01)


def test_a_gaussian_null_is_about_as_faithful_as_a_gaussian():
    points = np.random.default_rng(0).normal(size=(200, 6))
    shown = pca(points, null="gaussian")
    assert shown.faithfulness == pytest.approx(shown.faithfulness_null, abs=0.05)
    assert shown.faithfulness > 2 * 15 / 199


@pytest.mark.slow
def test_umap_keeps_the_clusters_and_repeats_to_the_bit():
    cloud = planted.months()
    one, other = (umap(cloud, within="template", n_epochs=30) for _ in range(2))
    np.testing.assert_array_equal(one.coordinates, other.coordinates)
    assert one.columns == ("umap1", "umap2")
    assert one.faithfulness > 0.4
    means = one.frame().groupby("month")[["umap1", "umap2"]].transform("mean")
    within = np.linalg.norm(one.coordinates - means.to_numpy(), axis=1).mean()
    assert within < 0.3 * np.linalg.norm(one.coordinates - one.coordinates.mean(axis=0), axis=1).mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: umap(x, n_neighbors=10), "got n_neighbors=10 for 10 rows; wanted at least 2 and fewer than rows."),
        (lambda x: umap(x, n_neighbors=5, min_dist=2), "got min_dist=2; wanted a number from 0 to 1."),
        (lambda x: pca(x, 7), "got n_components=7 for 10 rows of 6 features; choose 1 to 6."),
        (lambda x: neighbours_kept(x, x), "got 10 rows to compare 15 neighbours; wanted more rows than neighbours."),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call(np.random.default_rng(0).normal(size=(10, 6)))


def test_a_column_that_would_be_overwritten_is_refused():
    cloud = planted.months()
    table = cloud.table.assign(pc1=1.0)
    again = type(cloud).from_arrays({planted.SITE: cloud.points}, table, cloud.model)
    with pytest.raises(
        ValueError, match="^got a table with a column 'pc1', which this frame needs for itself: rename the column.$"
    ):
        pca(again).frame()
