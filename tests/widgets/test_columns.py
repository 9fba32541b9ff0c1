"""Columns as a page draws them: numbers or codes, the missing ones marked, never more levels than a legend can hold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from nbinterp.widgets.columns import MAX_LEVELS, column_message

WICKED = "</script><img src=x onerror=alert(1)>\u202e"


def codes(message):
    return np.frombuffer(message["values"], dtype=f"<u{message['width']}")


def numbers(message):
    return np.frombuffer(message["values"], dtype="<f4")


@pytest.mark.parametrize(
    ("values", "levels", "wanted"),
    [
        (["b", "a", None, "b"], ["b", "a"], [0, 1, 255, 0]),
        ([True, False, True], ["True", "False"], [0, 1, 0]),
        ([1, 2, np.nan, 1], ["1.0", "2.0"], [0, 1, 255, 0]),
        ([1, "1", True], ["1", "True"], [0, 0, 1]),
        ([[1], [2], [1]], ["[1]", "[2]"], [0, 1, 0]),
        ([WICKED, ""], [WICKED, ""], [0, 1]),
    ],
)
def test_labels_are_codes_in_order_of_appearance(values, levels, wanted):
    message = column_message(pd.Series(values), "c")
    assert (message["kind"], message["levels"], message["width"]) == ("label", levels, 1)
    assert codes(message).tolist() == wanted


def test_a_known_order_is_kept_without_levels_that_nobody_has():
    months = pd.Series(pd.Categorical(["March", "January"], ["January", "February", "March"], ordered=True))
    message = column_message(months, "month", cyclic=True)
    assert (message["levels"], message["cyclic"]) == (["January", "March"], True)
    assert codes(message).tolist() == [1, 0]


def test_numbers_of_more_than_12_values_are_numbers():
    values = [*np.linspace(-2.0, 3.0, 20), np.nan, np.inf]
    message = column_message(pd.Series(values), "score")
    assert (message["kind"], message["low"], message["high"]) == ("number", -2.0, 3.0)
    np.testing.assert_array_equal(numbers(message), np.float32([*values[:20], np.nan, np.nan]))
    assert column_message(pd.Series(np.arange(12.0)), "few")["kind"] == "label"
    assert column_message(pd.Series(np.arange(20), dtype="Int64").replace(3, None), "gap")["kind"] == "number"


@pytest.mark.parametrize(
    ("angles", "low", "high"),
    [
        (np.linspace(0.1, 6, 30), 0, 2 * math.pi),
        (np.linspace(-3, 3, 30), -math.pi, math.pi),
        (np.linspace(0, 350, 36), 0, 350),
    ],
)
def test_angles_go_round_a_whole_turn(angles, low, high):
    message = column_message(pd.Series(angles), "angle", cyclic=True)
    assert (message["low"], message["high"]) == (low, high)


@pytest.mark.parametrize(("n", "width"), [(255, 1), (256, 2), (MAX_LEVELS, 2)])
def test_codes_are_as_wide_as_they_must_be(n, width):
    message = column_message(pd.Series([*map(str, range(n)), None]), "c")
    assert message["width"] == width
    assert codes(message).tolist() == [*range(n), 256**width - 1]


def test_a_text_a_row_keeps_the_commonest_and_puts_the_rest_together():
    rare = [f"text {i}" for i in range(3 * MAX_LEVELS)]
    common = ["common", "common too", None]
    message = column_message(pd.Series([*rare, *common, *common]), "text")
    assert len(message["levels"]) == MAX_LEVELS + 1
    assert message["levels"][-1] == f"{2 * MAX_LEVELS + 2:,} other values"
    found = codes(message)
    assert message["levels"][found[-3]] == "common"
    assert found[-1] == 65535
    assert (found == MAX_LEVELS).sum() == 2 * MAX_LEVELS + 2


def test_long_texts_are_cut():
    (level,) = column_message(pd.Series(["x" * 10_000]), "c")["levels"]
    assert len(level) == 200
    assert level.endswith("…")


@pytest.mark.parametrize("values", [[], [None, None], [np.nan] * 3])
def test_nothing_known_is_no_level(values):
    message = column_message(pd.Series(values, dtype=object), "c")
    assert message["levels"] == []
    assert codes(message).tolist() == [255] * len(values)
