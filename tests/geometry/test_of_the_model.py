"""What the demo model's activations are called: shapes where they are, and nothing where there is nothing."""

import re
from pydoc_data import topics

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import nbinterp as nb
from nbinterp.demo.prompts import digits, months
from tests.geometry import planted

pytestmark = pytest.mark.slow

LAYERS = (5, 11, 17)


@pytest.fixture(scope="module")
def tokens(model):
    """Activations of running text at some layers: {site: [token, 576]}, without those of giant norms."""
    words = [word for name in sorted(topics.topics) for word in re.findall(r"[A-Za-z',.]+", topics.topics[name])]
    starts = np.random.default_rng(0).choice(len(words) - 60, 50, replace=False)
    texts = [" ".join(words[start : start + 60]) for start in starts]
    cloud = model.collect(texts, sites=[f"resid_post.{layer}" for layer in LAYERS], tokens="all", progress=False)
    prepared = {site: nb.prepare(cloud[site], None) for site in map(str, cloud.sites)}
    return {site: one.rows for site, one in prepared.items()}


@pytest.fixture(scope="module")
def labelled(model):
    sites = [f"resid_post.{layer}" for layer in (0, *LAYERS, 23)]
    return {
        concept.name: model.collect(
            concept.prompts(), sites=sites, tokens="last", labels=concept.table(), progress=False
        )
        for concept in (months, digits)
    }


def off(found, angles):
    return np.abs(planted.turned(found, angles)).mean()


def loops_called(clouds, n_null=99):
    with threadpool_limits(1):
        return sum(nb.significance(rows, n_null=n_null, seed=i).found for i, rows in enumerate(clouds))


def test_random_real_tokens_are_called_no_loop(tokens):
    rng = np.random.default_rng(1)
    clouds = [rows[rng.choice(len(rows), 300, replace=False)] for rows in tokens.values() for _ in range(10)]
    # at a level of .01, three of 30 have a chance of .3 %
    assert loops_called(clouds) <= 2


def test_a_gaussian_of_the_same_covariance_is_called_no_loop(tokens):
    rng = np.random.default_rng(2)
    root = {site: np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[1:] for site, rows in tokens.items()}
    clouds = [(rng.normal(size=(300, len(s))) * s) @ axes for s, axes in root.values() for _ in range(4)]
    assert loops_called(clouds) <= 1


def test_a_circle_planted_in_real_activations_is_found_and_measured_to_the_noise_floor(tokens):
    rng = np.random.default_rng(3)
    for rows in tokens.values():
        spread = np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean())
        axes = np.linalg.qr(rng.normal(size=(rows.shape[1], 2)))[0].T
        angles = rng.uniform(0, 2 * np.pi, len(rows))
        found_in = rows + spread * np.column_stack([np.cos(angles), np.sin(angles)]) @ axes
        diagram = nb.persistence(found_in, landmarks=200, max_norm_ratio=None)
        test = nb.significance(diagram, n_null=99)
        assert (test.verdict, test.n_found, test.p) == ("a loop", 1, 0.01)
        across, up = ((found_in - rows.mean(axis=0)) @ axes.T).T
        floor = off(np.arctan2(up, across), angles)
        measured = nb.circular_coordinates(found_in, max_norm_ratio=None)
        assert off(measured.angles, angles) <= 1.5 * floor


def test_months_are_a_circle_at_every_layer_and_the_words_zero_to_nine_at_none(labelled):
    called = {name: nb.circle_tests(cloud, name, "template") for name, cloud in labelled.items()}
    assert set(called["month"]["shape"]) == {"circle"}
    assert (called["month"]["p_holm"] <= 0.01).all()
    assert "circle" not in set(called["digit"]["shape"])


def test_shuffled_months_are_no_shape(labelled):
    rng = np.random.default_rng(4)
    cloud = labelled["month"]["resid_post.11"]
    shuffled = dict(zip(months.labels, rng.permutation(months.labels), strict=True))
    for_every_row = [shuffled[label] for label in cloud.table["month"]]
    # the same labels under other names: islands, but in no order
    renamed = nb.circle_test(cloud, for_every_row, "template", order=list(months.labels))
    assert renamed.p_order > 0.01
    assert renamed.shape == "neither"
    # and labels that mean nothing: not even islands
    at_random = rng.permutation(cloud.table["month"].to_numpy())
    assert set(nb.encoding_map(cloud, {"month": at_random}).frame()["place"]) == {"not there"}
