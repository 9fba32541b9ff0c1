import re

import numpy as np
import pandas as pd
import pytest

from nbinterp.geometry import centroids
from nbinterp.geometry.rows import centre_within, checked
from tests.geometry import planted

ROWS, LABELS, GROUPS = planted.labelled(planted.circle(12))


def test_balanced_centroids_are_the_double_centring():
    stack = ROWS.reshape(15, 12, -1)
    expected = (stack - stack.mean(axis=1, keepdims=True)).mean(axis=0)
    found = centroids(ROWS, LABELS, GROUPS)
    np.testing.assert_allclose(found.points, expected, atol=1e-10)
    np.testing.assert_allclose(found.centre, ROWS.mean(axis=0), atol=1e-10)


def test_missing_cells_do_no_harm_to_additive_data():
    rows, labels, groups = planted.labelled(planted.circle(12), noise=0)
    whole = centroids(rows, labels, groups)
    keep = np.random.default_rng(1).random(len(rows)) < 0.6
    assert keep.mean() < 0.7
    order = range(12)
    np.testing.assert_allclose(
        centroids(rows[keep], labels[keep], groups[keep], order=order).points, whole.points, atol=1e-8
    )


def test_plain_means_would_be_harmed_by_those_missing_cells():
    rows, labels, groups = planted.labelled(planted.circle(12), noise=0)
    keep = np.random.default_rng(1).random(len(rows)) < 0.6
    means = np.array([rows[keep & (labels == i)].mean(axis=0) for i in range(12)])
    whole = centroids(rows, labels, groups).points
    assert np.abs(means - means.mean(axis=0) - whole).max() > 0.5


def test_rows_of_a_giant_norm_are_set_aside_and_counted():
    rows = ROWS.copy()
    rows[17] *= 200
    found = centroids(rows, LABELS, GROUPS)
    assert found.n_set_aside == 1
    assert found.counts.tolist() == [14 if i == 17 % 12 else 15 for i in range(12)]
    assert "1 set aside, of norm above 3 × the median" in found.provenance
    assert np.abs(found.points - centroids(ROWS, LABELS, GROUPS).points).max() < 0.5
    assert np.abs(centroids(rows, LABELS, GROUPS, max_norm_ratio=None).points).max() > 10


def test_a_cloud_names_its_columns_and_keeps_its_place():
    cloud = planted.months()
    found = centroids(cloud, "month", "template")
    assert found.concept == "month"
    assert found.labels == planted.MONTHS
    assert str(found.site) == planted.SITE
    assert found.model == cloud.model
    assert found.frame()["n_rows"].tolist() == [15] * 12


def test_order_is_that_of_first_appearance_or_as_asked():
    assert centroids(ROWS[::-1], LABELS[::-1], GROUPS[::-1]).labels == tuple(range(11, -1, -1))
    asked = tuple(np.roll(np.arange(12), 3))
    np.testing.assert_allclose(
        centroids(ROWS, LABELS, GROUPS, order=asked).points, centroids(ROWS, LABELS, GROUPS).points[list(asked)]
    )


def test_centre_within_leaves_each_group_a_mean_of_zero():
    centred = pd.DataFrame(centre_within(ROWS, GROUPS)).groupby(GROUPS).mean()
    assert np.abs(centred.to_numpy()).max() < 1e-10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"by": "mont"},
            LookupError,
            "got by='mont', which is no column of the table; known columns are 'text', 'prompt', 'token', 'position', 'month', 'template': "
            "choose one of them or pass an array with one value a row.",
        ),
        (
            {"within": "tmpl"},
            LookupError,
            "got within='tmpl', which is no column of the table; known columns are 'text', 'prompt'",
        ),
        (
            {"by": ["a", "b"]},
            ValueError,
            "got 2 values for by and 180 rows; wanted one value a row: pass the same rows in both.",
        ),
        (
            {"order": planted.MONTHS[:-1]},
            ValueError,
            "got an order without the label 'December'; wanted every label of the rows (12): add it, or select the rows first.",
        ),
        (
            {"order": (*planted.MONTHS, "Smarch")},
            ValueError,
            "got the label 'Smarch' in order, which no row has; wanted labels of the rows: remove it.",
        ),
        (
            {"order": (*planted.MONTHS, "May")},
            ValueError,
            "got the label 'May' twice in order; wanted each label once.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(change, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        centroids(planted.months(), **{"by": "month", "within": "template"} | change)


def test_groups_and_labels_that_cannot_be_told_apart_are_refused():
    with pytest.raises(
        ValueError,
        match="^got groups that share too few labels, so that the effects of groups and labels cannot be told apart",
    ):
        centroids(ROWS[:12], LABELS[:12], LABELS[:12] // 6)


def test_a_label_left_without_rows_is_refused():
    rows = ROWS.copy()
    rows[LABELS == 4] *= 100
    with pytest.raises(
        ValueError,
        match="^got no usable row for the label 4; wanted at least one for each: collect more rows, or raise max_norm_ratio.$",
    ):
        centroids(rows, LABELS, GROUPS)


def test_nan_and_wrong_shapes_are_refused():
    rows = ROWS.copy()
    rows[5, 2] = np.nan
    message = "got NaN or infinite numbers in 1 of 180 rows (the first is row 5); wanted finite numbers: drop those rows, or collect in float32 instead of float16."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        checked(rows)
    with pytest.raises(
        ValueError, match=re.escape("got points of shape [180]; wanted [row, d_model] with at least one of each.")
    ):
        checked(ROWS[:, 0])
    with pytest.raises(
        ValueError, match="^got 1 missing values in by; wanted one for each row: drop those rows first.$"
    ):
        centroids(ROWS, [None, *LABELS[1:]])
