import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp.geometry import persistence
from nbinterp.geometry.vectors import betti_curves, bottleneck, landscape, persistence_image, wasserstein
from tests.geometry import planted, spaces


def random_pairs(seed, n=12):
    rng = np.random.default_rng(seed)
    births = rng.uniform(0, 1, n)
    return np.column_stack([births, births + rng.uniform(0.05, 1, n)])


def test_betti_numbers_of_a_polygon():
    diagram = persistence(planted.circle(12, radius=1))
    birth, death = spaces.polygon_class(12)[0]
    curves = betti_curves(diagram, [0, birth - 1e-3, birth + 1e-3, 1.0, death - 1e-3, death + 1e-3])
    assert curves.numbers.tolist() == [[12, 12, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0]]
    frame = betti_curves(diagram, 50).frame()
    assert frame.columns.tolist() == ["dimension", "scale", "betti"]
    assert len(frame) == 100
    assert frame.query("dimension == 1")["betti"].iloc[-1] == 0
    assert repr(curves).startswith("BettiCurves at 6 scales: at most 12 in H0, at most 1 in H1\n")


def test_betti_curves_count_what_is_alive():
    scales = np.linspace(0, 2, 31)
    diagram = persistence(np.random.default_rng(0).normal(size=(60, 2)))
    curves = betti_curves(diagram, scales)
    for dimension, pairs in enumerate(diagram.pairs):
        wanted = [((pairs[:, 0] <= scale) & (scale < pairs[:, 1])).sum() for scale in scales]
        assert curves.numbers[dimension].tolist() == wanted


def test_a_landscape_of_one_class_is_a_tent():
    found = landscape([[1.0, 3.0]], scales=[0, 1, 1.5, 2, 2.5, 3, 4], n_levels=2)
    assert found.values.tolist() == [[0, 0, 0.5, 1, 0.5, 0, 0], [0] * 7]
    assert found.frame()["level"].tolist() == [1] * 7 + [2] * 7
    assert repr(found).startswith("Landscape of H1: 2 levels at 7 scales, highest 1\n")


def test_landscapes_are_those_of_persim():
    from persim.landscapes import PersLandscapeApprox

    pairs = random_pairs(1)
    wanted = PersLandscapeApprox(dgms=[pairs], hom_deg=0, start=0, stop=2, num_steps=201).values
    found = landscape(pairs, scales=np.linspace(0, 2, 201), n_levels=len(wanted)).values
    # persim moves births and deaths onto its grid
    np.testing.assert_allclose(found, wanted, atol=0.011)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_landscapes_move_less_than_the_diagram(seed):
    one, other = random_pairs(seed), random_pairs(seed + 1)
    scales = np.linspace(0, 2, 101)
    apart = np.abs(
        landscape(one, scales=scales, n_levels=12).values - landscape(other, scales=scales, n_levels=12).values
    )
    assert apart.max() <= bottleneck(one, other) + 1e-12


def test_an_image_holds_the_weight_of_its_classes():
    pairs = random_pairs(2)
    wide = persistence_image(pairs, births=(-5, 6), lifetimes=(-5, 6), bandwidth=0.1, size=30)
    assert wide.values.sum() == pytest.approx((pairs[:, 1] - pairs[:, 0]).sum(), rel=1e-9)
    assert wide.vector.shape == (900,)
    assert wide.frame()["value"].sum() == pytest.approx(wide.values.sum())


def test_a_class_lies_where_it_was_born_and_as_high_as_it_lived():
    image = persistence_image([[0.25, 1.0]], births=(0, 1), lifetimes=(0, 1), size=10, bandwidth=0.01)
    row, column = np.unravel_index(image.values.argmax(), image.values.shape)
    assert image.births[column] <= 0.25 <= image.births[column + 1]
    assert image.lifetimes[row] <= 0.75 <= image.lifetimes[row + 1]
    assert repr(image).startswith("PersistenceImage of H1: 10 × 10 pixels, bandwidth 0.01\n")


def test_images_are_those_of_persim():
    from persim import PersistenceImager

    pairs = random_pairs(3)
    imager = PersistenceImager(
        birth_range=(0, 1),
        pers_range=(0, 1),
        pixel_size=0.1,
        weight="persistence",
        weight_params={"n": 1},
        kernel_params={"sigma": [[0.04, 0.0], [0.0, 0.04]]},
    )
    wanted = imager.transform(pairs, skew=True)
    found = persistence_image(pairs, births=(0, 1), lifetimes=(0, 1), size=10, bandwidth=0.2)
    np.testing.assert_allclose(found.values, wanted.T, rtol=1e-6)


def test_an_empty_dimension_gives_an_empty_image_and_landscape():
    diagram = persistence(np.random.default_rng(0).normal(size=(3, 2)))
    assert not persistence_image(diagram).values.any()
    assert not landscape(diagram).values.any()


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_distances_are_distances(seed):
    a, b, c = (random_pairs(seed + i, n=6 + i) for i in range(3))
    for distance in (bottleneck, wasserstein):
        # persim takes the root of a difference that is zero but for rounding
        assert distance(a, a) == pytest.approx(0, abs=1e-6)
        assert distance(a, b) == pytest.approx(distance(b, a))
        assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9
    assert bottleneck(a, b) <= wasserstein(a, b) + 1e-9


def test_bottleneck_distances_are_those_of_persim():
    from persim import bottleneck as of_persim

    for seed in range(60):
        one, other = random_pairs(seed, n=1 + seed % 23), random_pairs(seed + 1, n=1 + seed % 7)
        other = np.vstack([other, one[::2] + 1e-3 * (seed % 5)])
        assert bottleneck(one, other) == pytest.approx(of_persim(one, other), rel=1e-7, abs=1e-9)


def test_ten_thousand_classes_can_be_compared():
    rng = np.random.default_rng(0)
    births = rng.uniform(0, 1, 10_000)
    one = np.column_stack([births, births + rng.exponential(0.01, 10_000)])
    moved = one + rng.uniform(-1e-5, 1e-5, one.shape)
    assert 0.5e-5 < bottleneck(one, moved) <= 1e-5 * (1 + 1e-6)


def test_a_class_that_nothing_matches_goes_to_the_diagonal():
    assert bottleneck([[1.0, 3.0]], np.empty((0, 2))) == pytest.approx(1)
    assert wasserstein([[1.0, 3.0]], np.empty((0, 2))) == pytest.approx(np.sqrt(2))
    assert bottleneck(np.empty((0, 2)), np.empty((0, 2))) == wasserstein(np.empty((0, 2)), np.empty((0, 2))) == 0


def test_classes_that_never_die_are_matched_with_each_other():
    one, other = [[0.0, np.inf], [1.0, 2.0]], [[0.5, np.inf], [1.0, 2.0]]
    assert bottleneck(one, other) == wasserstein(one, other) == 0.5
    assert bottleneck(one, other[1:]) == wasserstein(one, other[1:]) == np.inf
    polygon = persistence(planted.circle(12))
    assert bottleneck(polygon, polygon, 0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: landscape(d, 2), "got dimension=2 of a diagram up to 1; make it with a larger max_dimension."),
        (lambda d: landscape(d, n_levels=0), "got n_levels=0; wanted at least 1."),
        (lambda d: betti_curves(d, 1), "got scales=1; wanted at least 2, or the scales themselves."),
        (
            lambda d: persistence_image(d, births=(1, 1)),
            "got size=20, births=(1, 1), lifetimes=",
        ),
        (
            lambda d: persistence_image(d, bandwidth=0),
            "got bandwidth=0; wanted a positive number in the units of the diagram.",
        ),
        (
            lambda d: wasserstein(random_pairs(0, 2000), random_pairs(0, 1001)),
            "got 2000 and 1001 classes to match all with all; wanted at most 3000 together: leave out those of short lifetimes, ",
        ),
        (lambda d: bottleneck(d, [1, 2]), "got births and deaths of shape [2]; wanted [class, 2]."),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call(persistence(planted.circle(12)))
