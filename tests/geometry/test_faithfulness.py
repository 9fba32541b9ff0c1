import re

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from nbinterp.geometry.faithfulness import faithfulness
from nbinterp.geometry.neighbors import neighbor_graph
from tests.geometry import planted


def rows(n=400, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("k", [5, 15])
def test_trustworthiness_and_continuity_are_those_of_scikit_learn(k):
    points = rows()
    shown = points[:, :2] + 0.3 * rows(d=2, seed=1)
    found = faithfulness(points, shown, n_neighbors=k)
    assert found.trustworthiness == pytest.approx(trustworthiness(points, shown, n_neighbors=k), abs=1e-9)
    assert found.continuity == pytest.approx(trustworthiness(shown, points, n_neighbors=k), abs=1e-9)
    assert found.n_queries == 400


def test_large_clouds_in_single_precision_agree_with_scikit_learn():
    points = rows(3500) + 20
    found = faithfulness(points, points[:, :2], max_queries=None)
    assert found.trustworthiness == pytest.approx(trustworthiness(points, points[:, :2], n_neighbors=15), abs=1e-4)
    sample = faithfulness(points, points[:, :2], max_queries=1000)
    assert sample.n_queries == 1000
    assert sample.trustworthiness == pytest.approx(found.trustworthiness, abs=0.01)
    assert sample.neighbours_kept == found.neighbours_kept


def test_a_copy_is_faithful_and_distorts_nothing():
    points = rows()
    found = faithfulness(points, 7 * points @ planted.frame_of(8, 8) + 2)
    assert (found.neighbours_kept, found.trustworthiness, found.continuity) == (1, 1, 1)
    assert not found.lost.any()
    np.testing.assert_allclose(found.stretch, 0, atol=1e-5)


def test_a_picture_of_nothing_reaches_the_null():
    points = rows()
    random = [faithfulness(points, rows(d=2, seed=seed)) for seed in range(1, 21)]
    assert np.mean([one.neighbours_kept for one in random]) == pytest.approx(15 / 399, abs=0.003)
    for measure in ("trustworthiness", "continuity"):
        null = getattr(random[0], f"{measure}_null")
        assert np.mean([getattr(one, measure) for one in random]) == pytest.approx(null, abs=0.01)
    assert null == pytest.approx(0.5, abs=0.02)


def test_distortion_says_where_the_picture_errs():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    # pressed flat: the halves fall onto each other, but for the two ends nothing is lost sideways
    flat = faithfulness(circle, circle * [1, 0])
    assert np.median(flat.lost) == pytest.approx(0.5, abs=0.1)
    # cut open: neighbours are lost at the cut alone
    opened = faithfulness(circle, np.column_stack([angle, 0 * angle]), n_neighbors=14)
    assert np.flatnonzero(opened.lost > 1e-9).tolist() == [*range(7), *range(393, 400)]
    assert opened.lost[[0, -1]].min() > 0.3
    assert opened.continuity < opened.trustworthiness


def test_stretch_counts_doublings():
    points = np.concatenate([rows(200, 2), rows(200, 2) + 50])
    shown = np.concatenate([points[:200], 4 * points[200:]])
    found = faithfulness(points, shown)
    assert np.ptp(found.stretch) == pytest.approx(2, abs=1e-4)
    np.testing.assert_allclose(found.stretch[200:] - found.stretch[0], 2, atol=1e-4)
    assert found.neighbours_kept == 1


def test_a_graph_of_cosines_is_judged_by_cosines():
    points = rows()
    centred = points - points.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = faithfulness(neighbor_graph(points, 20, metric="cosine"), unit)
    assert (found.neighbours_kept, found.trustworthiness, found.continuity) == (1, 1, 1)


def test_too_few_points_to_say():
    found = faithfulness(rows(10), rows(10, 2))
    assert found.verdict == "too few points to say"
    assert np.isnan(found.summary()["value"]).all()
    some = faithfulness(rows(25), rows(25, 2))
    assert np.isfinite(some.neighbours_kept)
    assert np.isnan(some.trustworthiness)


def test_the_frame_the_chart_and_the_words():
    found = faithfulness(rows(), rows(d=2, seed=1))
    assert found.frame().columns.tolist() == ["row", "x", "y", "lost", "stretch"]
    assert found.summary()["measure"].tolist() == ["neighbours kept", "trustworthiness", "continuity"]
    assert re.fullmatch(r"keeps \d% of true 15 neighbours \(4% by chance\)", found.verdict)
    assert "trustworthiness and continuity on 400 of 400 points" in repr(found)
    for color in ("lost", "stretch"):
        assert "viridis" in found.chart(color).to_json()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: faithfulness(x, x[:5]),
            "got 400 points and coordinates of shape [5, 8]; wanted [row, n_components], a line for each point.",
        ),
        (
            lambda x: faithfulness(x, np.full((400, 2), np.nan)),
            "got NaN or infinite coordinates; wanted finite ones: leave out the rows that were set aside.",
        ),
        (
            lambda x: faithfulness(neighbor_graph(x, 5), x),
            "got k=15 for a graph of 5 neighbours; wanted 1 to 5: make the graph with a larger k.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call(rows())
