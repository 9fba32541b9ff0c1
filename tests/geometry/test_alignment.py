import itertools
import re

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from nbinterp.clouds import Cloud
from nbinterp.geometry import umap
from nbinterp.geometry.alignment import align
from nbinterp.geometry.embedding import pca
from tests.geometry import planted

SITES = [f"resid_post.{i}" for i in range(4)]


def layered(n=240, d=30, seed=0):
    """Five clusters whose rows wander from layer to layer, in bases that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    rows = 6 * rng.normal(size=(5, d)).repeat(n // 5, axis=0) + rng.normal(size=(n, d))
    layers = {}
    for i, site in enumerate(SITES):
        rows = rows + 0.4 * rng.normal(size=rows.shape)
        layers[site] = 3.0**i * rows @ planted.frame_of(d, d, i)
    return layers


def after_procrustes(before, after):
    a, b = before - before.mean(axis=0), after - after.mean(axis=0)
    a, b = a / np.sqrt((a**2).sum()), b / np.sqrt((b**2).sum())
    return np.sqrt(((b @ orthogonal_procrustes(b, a)[0] - a) ** 2).sum())


def test_layouts_of_umap_follow_each_other_and_stay_faithful():
    layers = layered()
    aligned = align(layers)
    alone = [umap(rows) for rows in layers.values()]
    independent = [after_procrustes(one.layout, other.layout) for one, other in itertools.pairwise(alone)]
    assert (aligned.displacement < 0.5 * np.array(independent)).all()
    for shown, fresh in zip(aligned.embeddings, alone, strict=True):
        assert shown.faithfulness > fresh.faithfulness - 0.03
    assert aligned.sites == tuple(SITES)
    assert len(aligned) == 4
    assert aligned["resid_post.2"] is aligned.embeddings[2]


def test_a_pull_makes_it_smoother_and_costs_little():
    layers = layered()
    free, held = (align(layers, pull=pull) for pull in (0.0, 0.3))
    assert held.displacement.mean() < free.displacement.mean()
    assert held.summary()["faithfulness"].mean() > free.summary()["faithfulness"].mean() - 0.05


def test_pca_is_turned_but_not_bent():
    layers = layered()
    aligned = align(layers, method="pca")
    for site, shown in zip(SITES, aligned.embeddings, strict=True):
        alone = pca(layers[site])
        np.testing.assert_allclose(
            np.linalg.norm(shown.layout[:20, None] - shown.layout[None, :20], axis=2),
            np.linalg.norm(alone.layout[:20, None] - alone.layout[None, :20], axis=2),
            rtol=1e-6,
        )
        np.testing.assert_allclose(shown.transform(layers[site][:5]), shown.layout[:5], atol=1e-6)
    unturned = [pca(rows).layout / np.sqrt(pca(rows).layout.var(axis=0).sum()) for rows in layers.values()]
    steps = [np.sqrt(((b - a) ** 2).sum(axis=1).mean()) for a, b in itertools.pairwise(unturned)]
    assert (aligned.displacement <= np.array(steps) + 1e-9).all()
    np.testing.assert_allclose(np.sqrt(aligned.coordinates.var(axis=1).sum(axis=1)), 1)


def test_the_same_layer_twice_stays_where_it_is():
    rows = layered()[SITES[0]]
    twice = align({"resid_post.0": rows, "resid_post.1": rows}, method="pca")
    np.testing.assert_allclose(twice.displacement, 0, atol=1e-7)


def test_a_cloud_of_several_sites_keeps_its_table_and_its_rows():
    layers = layered()
    layers[SITES[2]][7] *= 1000
    table = {"text": [f"t{i}" for i in range(240)], "cluster": np.repeat(list("abcde"), 48)}
    import pandas as pd

    cloud = Cloud.from_arrays(layers, pd.DataFrame(table), planted.info(30))
    aligned = align(cloud, sites=SITES[1:], method="pca")
    assert aligned.sites == tuple(SITES[1:])
    assert aligned.coordinates.shape == (3, 240, 2)
    # set aside at one layer, set aside at all
    assert np.flatnonzero(np.isnan(aligned.coordinates[0, :, 0])).tolist() == [7]
    frame = aligned.frame()
    assert frame.columns.tolist()[:4] == ["site", "row", "x", "y"]
    assert len(frame) == 720
    assert "cluster" in frame.columns
    assert "1 set aside, of a giant norm at one of the layers" in repr(aligned)
    within = align(cloud, sites=SITES[:2], method="pca", within="cluster")
    assert "centred within cluster" in within.provenance
    assert aligned.summary().columns.tolist() == ["site", "faithfulness", "null", "displacement"]


def test_the_chart_glides_between_layers():
    aligned = align(layered(), method="pca")
    chart = aligned.chart().to_dict()
    (slider,) = [p for p in chart["params"] if p["name"] == "layer"]
    assert slider["bind"]["max"] == 3
    values = chart["datasets"][chart["layer"][0]["data"]["name"]]
    assert len(values) == 240
    assert values[3]["y_2"] == pytest.approx(aligned.coordinates[2, 3, 1], abs=1e-4)
    png = draw(aligned.chart())
    assert png[:4] == b"\x89PNG"


def draw(chart):
    import vl_convert

    return vl_convert.vegalite_to_png(chart.to_dict())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: align(x, method="tsne"), "got method='tsne'; choose 'umap' or 'pca'."),
        (lambda x: align(x, pull=2), "got pull=2; wanted a number from 0 to 1."),
        (lambda x: align(x, sites=[]), "got no sites to align; wanted at least one."),
        (
            lambda x: align(x, sites=["z.1"]),
            "got the site 'z.1'; known sites are resid_post.0, resid_post.1, resid_post.2, resid_post.3.",
        ),
        (
            lambda x: align(x | {"late": np.ones((9, 3))}),
            "got 240 rows at resid_post.0 and 9 at late; wanted the same rows at every site.",
        ),
        (
            lambda x: align(x, n_neighbors=300),
            "got n_neighbors=300 for 240 rows; wanted at least 2 and fewer than rows.",
        ),
        (
            lambda x: align(x)["mlp_out.1"],
            "got 'mlp_out.1', which is none of these layers: resid_post.0, resid_post.1, resid_post.2, resid_post.3.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises((ValueError, LookupError), match="^" + re.escape(message) + "$"):
        call(layered())
