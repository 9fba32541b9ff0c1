import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbinterp.geometry import circle_test, loop_significance
from nbinterp.geometry.multiple import adjusted, correct
from tests.geometry import planted
from tests.geometry.test_persistence import noisy_circle

METHODS = ("bonferroni", "holm", "benjamini-hochberg", "benjamini-yekutieli")

p_values = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1))


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        # .005 × 4, .01 × 3, .03 × 2, then never less than the one before
        ("holm", [0.03, 0.06, 0.06, 0.02]),
        # p × 4 / rank, never more than the next
        ("benjamini-hochberg", [0.02, 0.04, 0.04, 0.02]),
        # that times 1 + 1/2 + 1/3 + 1/4
        ("benjamini-yekutieli", [0.02 * 25 / 12, 0.04 * 25 / 12, 0.04 * 25 / 12, 0.02 * 25 / 12]),
    ],
)
def test_closed_forms(method, wanted):
    np.testing.assert_allclose(adjusted([0.01, 0.04, 0.03, 0.005], method), wanted, rtol=1e-12)


@given(p=p_values)
def test_what_is_stronger_and_what_is_weaker(p):
    bonferroni, holm, bh, by = (adjusted(p, method) for method in METHODS)
    assert (p <= bh + 1e-12).all()
    assert (bh <= holm + 1e-12).all()
    assert (holm <= bonferroni + 1e-12).all()
    assert (bh <= by + 1e-12).all()
    assert (np.concatenate([bonferroni, by]) <= 1).all()


@given(p=p_values, seed=st.integers(0, 99))
def test_order_is_kept_and_does_not_matter(p, seed):
    shuffled = np.random.default_rng(seed).permutation(len(p))
    for method in METHODS:
        one = adjusted(p, method)
        np.testing.assert_allclose(adjusted(p[shuffled], method), one[shuffled])
        assert (np.diff(one[np.argsort(p, kind="stable")]) >= -1e-12).all()


@given(p=p_values)
def test_a_test_that_was_not_possible_is_no_look(p):
    for method in METHODS:
        with_gaps = adjusted(np.append(p, np.nan), method)
        assert np.isnan(with_gaps[-1])
        np.testing.assert_allclose(with_gaps[:-1], adjusted(p, method))


def test_one_test_is_not_changed():
    assert [adjusted([0.03], method).tolist() for method in METHODS] == [[0.03]] * 4


def test_family_wise_error_and_false_discoveries_hold_in_simulation():
    rng = np.random.default_rng(0)
    any_false, shares = 0, []
    for _ in range(800):
        p = np.concatenate([rng.uniform(size=15), rng.beta(0.05, 1, size=5)])
        any_false += (adjusted(p, "holm")[:15] <= 0.1).any()
        called = adjusted(p, "benjamini-hochberg") <= 0.1
        shares.append(called[:15].sum() / max(1, called.sum()))
    # 15 of 20 nulls: at most .1 and .075
    assert any_false / 800 <= 0.1 + 0.021
    assert np.mean(shares) <= 0.075 + 0.015


def test_results_of_layers_are_corrected_together_and_conditions_stay():
    rng = np.random.default_rng(0)
    tests = {f"resid_post.{i}": loop_significance(rng.normal(size=(60, 8)), n_null=99) for i in range(3)}
    tests["resid_post.3"] = loop_significance(noisy_circle(n=100, noise=0.1, d_model=8)[0], n_null=499)
    found = correct(tests, alpha=0.01).set_index("name")
    assert found.loc["resid_post.3", "p_adjusted"] == pytest.approx(4 / 500)
    assert found["remains"].tolist() == [False, False, False, True]


def test_a_small_p_alone_does_not_remain_where_a_condition_failed():
    line = circle_test(*planted.labelled(planted.line(12), noise=0.2))
    assert line.p <= 0.01
    assert not line.found
    assert correct([line], alpha=0.05)["remains"].tolist() == [False]
    assert correct([circle_test(planted.circle(12), range(12)), 0.4, np.nan])["remains"].tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correct([]), "got no tests to correct; give all that were made."),
        (lambda: correct([0.1], alpha=0), "got alpha=0; wanted a number between 0 and 1, such as 0.01."),
        (
            lambda: correct({"a": circle_test(planted.circle(12), range(12), looks=3)}),
            "got a test (a) whose p was multiplied by 3 looks already; wanted looks=1: they are counted here.",
        ),
        (
            lambda: adjusted([0.1], "sidak"),
            "got method='sidak'; choose from bonferroni, holm, benjamini-hochberg, benjamini-yekutieli.",
        ),
        (
            lambda: adjusted([0.1, 1.2]),
            "got p-values outside 0 to 1, or not in one row; wanted one p-value a test.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call()
