import re

import numpy as np
import pandas as pd
import pytest

from nbinterp.clouds import Cloud
from nbinterp.geometry.tracking import DiagramsStopped, diagrams_across
from tests.geometry import planted

N = 120
ANGLES = 2 * np.pi * np.arange(N) / N


def noisy(points, seed, noise=0.03, d_model=20):
    rng = np.random.default_rng(seed)
    return points @ planted.frame_of(d_model, points.shape[1], seed) + noise * rng.normal(size=(len(points), d_model))


def circle(seed, radius=1.0, **more):
    return noisy(radius * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)]), seed, **more)


def blob(seed):
    return np.random.default_rng(seed).normal(size=(N, 20))


def figure_eight(seed):
    return noisy(np.column_stack([np.cos(ANGLES), np.sin(2 * ANGLES) * 0.7]), seed)


def test_a_circle_that_stays_lives_on_whatever_its_size():
    found = diagrams_across({f"layer {i}": circle(i, radius=2.0**i, noise=0.03 * 2.0**i) for i in range(4)})
    steps = found.lives_on()
    first = steps[steps["class_id"] == "H1.0"]
    assert first["lives_on"].tolist() == [True] * 3
    assert first["continues_as"].tolist() == ["H1.0"] * 3
    assert found.lineages().iloc[0].tolist() == ["layer 0", "layer 3", 4, "H1.0 H1.0 H1.0 H1.0"]
    assert repr(found).startswith("LayerDiagrams at 4 sites\n  layer 0: ")


def test_a_circle_that_vanishes_does_not_live_on():
    found = diagrams_across({"before": circle(0), "after": blob(1)}, n_tracked=1)
    assert found.lives_on()["lives_on"].tolist() == [False]
    assert found.lives_on()["continues_as"].tolist() == [""]


def test_a_circle_that_is_drawn_together_to_a_line_does_not_live_on():
    flat = noisy(np.column_stack([np.cos(ANGLES), 0.05 * np.sin(ANGLES)]), 2, noise=0.02)
    found = diagrams_across({"before": circle(0), "after": flat}, n_tracked=1)
    assert not found.lives_on()["lives_on"].any()


def test_another_circle_of_the_same_rows_is_not_the_same_class():
    # as large and as round, but with the rows in another order
    shuffled = circle(1)[np.random.default_rng(0).permutation(N)]
    found = diagrams_across({"before": circle(0), "after": shuffled}, n_tracked=1)
    assert found["after"].h1[0, 1] > 1.5
    assert not found.lives_on()["lives_on"].any()


def test_a_circle_that_splits_goes_on_in_both_parts():
    found = diagrams_across({"before": circle(0), "after": figure_eight(1)}, n_tracked=1)
    lifetimes = found["after"].h1[:, 1] - found["after"].h1[:, 0]
    assert lifetimes[1] > 3 * lifetimes[2]
    (step,) = found.lives_on().itertuples()
    assert step.lives_on
    assert set(step.next_classes.split()) >= {"H1.0", "H1.1"}


@pytest.mark.parametrize("prime", [2, 3])
def test_two_windings_are_none_modulo_two(prime):
    # the rows go twice round after: twice the class, which is zero modulo 2 and not modulo 3
    twice = noisy(np.column_stack([np.cos(2 * ANGLES), np.sin(2 * ANGLES)]), 1)
    found = diagrams_across({"before": circle(0), "after": twice}, n_tracked=1, prime=prime)
    (step,) = found.lives_on().itertuples()
    assert ("H1.0" in step.next_classes.split()) == (prime == 3)


def test_rows_set_aside_at_one_site_are_stepped_over():
    after = circle(1)
    after[7] *= 500
    found = diagrams_across({"before": circle(0), "after": after}, n_tracked=1)
    assert found["after"].point_of_row[7] == -1
    assert found.lives_on()["continues_as"].tolist() == ["H1.0"]


def test_landmarks_are_followed_by_their_rows():
    found = diagrams_across({"before": circle(0), "after": circle(1)}, landmarks=25, n_tracked=1)
    assert found.lives_on()["continues_as"].tolist() == ["H1.0"]


def test_a_cloud_of_several_sites_and_a_choice_of_them():
    sites = [f"resid_post.{i}" for i in range(3)]
    cloud = Cloud.from_arrays(
        {site: circle(i).astype(np.float32) for i, site in enumerate(sites)},
        pd.DataFrame({"text": ["a"] * N}),
        planted.info(20),
    )
    found = diagrams_across(cloud, [sites[2], sites[0]])
    assert found.sites == (sites[2], sites[0])
    assert str(found[sites[0]].site) == sites[0]
    frame = found.frame()
    assert frame.columns.tolist() == ["site", "class_id", "dimension", "birth", "death", "persistence", "ratio"]
    assert frame["site"].unique().tolist() == list(found.sites)
    with pytest.raises(
        LookupError, match="^" + re.escape("got 'z.1', which is not among the sites resid_post.2, resid_post.0")
    ):
        found["z.1"]


def test_sites_are_as_far_apart_as_their_diagrams():
    found = diagrams_across({"one": circle(0), "same": circle(0), "other": blob(0)})
    for which in ("bottleneck", "wasserstein"):
        apart = found.distances(which)
        assert apart.loc["one", "same"] == 0
        assert apart.loc["one", "other"] == apart.loc["other", "one"] > 0.1
    with pytest.raises(ValueError, match=r"^got which='L2'; choose from bottleneck, wasserstein.$"):
        found.distances("L2")


def test_an_interrupted_run_keeps_what_is_done():
    def stop(done, wanted):
        assert wanted == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(
        DiagramsStopped,
        match=r"^stopped after 2 of 4 sites, which are in this exception's .partial; missing are layer 2, layer 3.$",
    ) as stopped:
        diagrams_across({f"layer {i}": circle(i) for i in range(4)}, progress=stop)
    partial = stopped.value.partial
    assert partial.sites == ("layer 0", "layer 1")
    assert partial.provenance.endswith("; the same at each site; interrupted, without layer 2, layer 3")
    assert partial.lives_on()["lives_on"].any()


@pytest.mark.parametrize(
    ("clouds", "more", "error", "message"),
    [
        ({}, {}, ValueError, "got no sites; wanted at least one."),
        ({"a": blob(0)}, {"sites": ["b"]}, LookupError, "got site 'b'; known are a: choose from these."),
        (
            blob(0),
            {},
            TypeError,
            "got ndarray; wanted a cloud of several sites, or a mapping of names to clouds or arrays.",
        ),
        ({"a": blob(0)}, {"n_tracked": 0}, ValueError, "got n_tracked=0; wanted at least 1 loop to follow."),
        (
            {"a": blob(0), "b": blob(0)[:50]},
            {},
            ValueError,
            f"got 50 rows at b and {N} at a; wanted the same rows at each site.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(clouds, more, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        diagrams_across(clouds, **more)
