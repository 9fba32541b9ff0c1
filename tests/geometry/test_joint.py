import re
from itertools import islice

import numpy as np
import pytest

from nbinterp.clouds import Cloud
from nbinterp.geometry.joint import joint_loop_p, loop_significances, stepped_down
from nbinterp.geometry.nulls import loops_drawn_together
from nbinterp.geometry.persistence import persistence
from nbinterp.geometry.preparation import prepare
from tests.geometry import planted
from tests.geometry.test_persistence import noisy_circle


def layers(seed, n_layers=6, n=60, alike=0.95):
    """Gaussian rows that change little from layer to layer."""
    rng = np.random.default_rng(seed)
    rows, sites = rng.normal(size=(n, 20)) * np.linspace(2, 1, 20), {}
    for layer in range(n_layers):
        sites[f"resid_post.{layer}"] = rows
        rows = alike * rows + np.sqrt(1 - alike**2) * rng.normal(size=rows.shape)
    return sites


def test_a_circle_at_some_layers_is_found_there_and_only_there():
    sites = layers(0, n=120)
    for layer in (2, 3):
        sites[f"resid_post.{layer}"] = noisy_circle(n=120, noise=0.1, d_model=20, seed=layer)[0]
    found = loop_significances(sites, n_null=199)
    assert found["verdict"].tolist() == ["no loop"] * 2 + ["a loop"] * 2 + ["no loop"] * 2
    assert (found["p_joint"] >= found["p"]).all()
    assert found["p_joint"].iloc[2] == pytest.approx(1 / 200)
    # six looks at 1/200 are more than .01
    assert found["p_holm"].iloc[2] == pytest.approx(6 / 200)


def test_a_cloud_of_many_sites_is_taken_as_it_is():
    rows = noisy_circle(n=60, noise=0.1, d_model=20)[0]
    table = planted.cloud_of(rows, np.zeros(60, dtype=int), np.arange(60) % 4).table
    cloud = Cloud.from_arrays({"resid_post.1": rows, "resid_post.2": 2 * rows}, table, planted.info(20))
    found = loop_significances(cloud, n_null=99)
    assert found["site"].tolist() == ["resid_post.1", "resid_post.2"]
    # the same rows twice are one look
    np.testing.assert_allclose(found["p_joint"], 0.01)
    np.testing.assert_allclose(found["lifetime"].iloc[1], 2 * found["lifetime"].iloc[0], rtol=1e-5)


def test_steps_down_by_hand():
    heights = np.array([[3.0, 1, 4, 2], [2.5, 0, 1, 2.6], [0.0, 5, 0, -1]])
    # 3 against the largest of all; 2.5 against the larger of the second and third; 0 against the third, and never below 2.5's
    np.testing.assert_allclose(stepped_down(heights), [3 / 4, 3 / 4, 3 / 4])
    np.testing.assert_allclose(stepped_down(heights[:2]), [2 / 4, 2 / 4])


def together(rows_of_sites, n, seed=0):
    found = [persistence(prepare(rows, 4).narrowed(width)) for rows in rows_of_sites for width in (2, 4)]
    return joint_loop_p(found, list(zip(*islice(loops_drawn_together(found, seed), n), strict=True)))


def test_diagrams_of_the_same_rows_are_one_look():
    rows = layers(0, n=60)["resid_post.0"]
    p = together([rows, 2 * rows, rows], 39)
    np.testing.assert_allclose(p[::2], p[0])
    np.testing.assert_allclose(p[1::2], p[1])


def test_a_circle_among_diagrams_is_found():
    sites = list(layers(0, n=120).values())
    sites[1] = noisy_circle(n=120, noise=0.1, d_model=20)[0]
    p = together(sites, 39)
    assert p[2] == pytest.approx(1 / 40)
    assert (np.delete(p, [2, 3]) > 1 / 40).all()


@pytest.mark.slow
def test_the_chance_of_any_false_loop_is_held_over_sites_and_numbers_of_components():
    smallest = [together(layers(seed, n_layers=4, n=40).values(), 19, seed).min() for seed in range(100)]
    assert np.mean(np.array(smallest) <= 0.05) <= 0.09


@pytest.mark.slow
def test_the_chance_of_any_false_loop_is_held_over_layers_that_resemble_each_other():
    smallest = [
        loop_significances(layers(seed, n=40), n_null=39, alpha=0.05, seed=seed)["p_joint"].min() for seed in range(100)
    ]
    # at 5 %, nine of a hundred is the 97 % quantile
    assert np.mean(np.array(smallest) <= 0.05) <= 0.09
    assert np.mean(np.array(smallest) <= 0.5) <= 0.6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loop_significances({}), "got no sites to test; give at least one."),
        (
            lambda: loop_significances({"a": np.ones((30, 3)), "b": np.ones((29, 3))}),
            "got 29 rows at b and 30 at the first site; wanted the same rows.",
        ),
        (
            lambda: loop_significances(layers(0), n_null=50),
            "got alpha=0.01, n_null=50; wanted alpha between 0 and 1 and n_null of at least 1 / alpha − 1.",
        ),
        (
            lambda: loop_significances(layers(0, n=12)),
            "got 12 points; wanted at least 20: collect more rows.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call()
