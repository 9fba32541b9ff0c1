import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp.geometry import matching
from nbinterp.geometry.matching import finite_bottleneck
from nbinterp.geometry.persistence import loop_pairs
from tests.geometry.test_persistence import noisy_circle


@st.composite
def diagrams(draw):
    n = draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    births = rng.uniform(0, 2, n)
    return np.column_stack([births, births + rng.exponential(size=n)])


@given(a=diagrams(), b=diagrams())
@settings(max_examples=60, deadline=None)
def test_the_bottleneck_distance_is_persims(a, b):
    import persim

    found = finite_bottleneck(a, b)
    assert found == finite_bottleneck(b, a)
    assert found == pytest.approx(persim.bottleneck(a, b) if len(a) and len(b) else half_longest(a, b), abs=1e-6)
    assert finite_bottleneck(a, a) == 0


def half_longest(*parts):
    return max(((one[:, 1] - one[:, 0]).max(initial=0) / 2 for one in parts), default=0)


@given(a=diagrams(), b=diagrams(), c=diagrams())
@settings(max_examples=40, deadline=None)
def test_the_bottleneck_distance_is_a_distance(a, b, c):
    assert finite_bottleneck(a, c) <= finite_bottleneck(a, b) + finite_bottleneck(b, c) + 1e-12
    assert finite_bottleneck(a, b) <= half_longest(a, b) + 1e-12
    assert finite_bottleneck(a, a + 0.25) <= 0.25 + 1e-12


def test_the_bottleneck_distance_of_noisy_circles_is_small():
    one, other = (loop_pairs(noisy_circle(n=150, noise=0.02, seed=seed)[0]) for seed in (0, 1))
    assert finite_bottleneck(one, other) < 0.25 < half_longest(one)
    assert not re.search("nan", str(finite_bottleneck(one, other)))


def test_large_diagrams_are_compared_as_small_ones_are(monkeypatch):
    rng = np.random.default_rng(0)
    pairs = []
    for n in (0, 1, 30, 80):
        births = rng.uniform(0, 2, n)
        pairs.append(np.column_stack([births, births + rng.exponential(size=n)]))
    exact = [finite_bottleneck(a, b) for a in pairs for b in pairs if len(a) and len(b)]
    monkeypatch.setattr(matching, "MOST_PAIRS", 0)
    nearly = [finite_bottleneck(a, b) for a in pairs for b in pairs if len(a) and len(b)]
    np.testing.assert_allclose(nearly, exact, rtol=1e-8, atol=1e-9)
    assert len(set(exact)) > 3
