"""One selection for many widgets."""

from __future__ import annotations

import anywidget
import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st

from nbinterp.widgets.selection import Selection, SelectionTrait, from_page, link, to_page

indices = st.lists(st.integers(0, 3000), max_size=60)
pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


class View(anywidget.AnyWidget):
    _esm = "export default {}"
    selection = SelectionTrait()

    def __init__(self, **selectable: int) -> None:
        super().__init__()
        self.selectable = selectable


@given(indices, indices, indices, indices, pairs)
def test_what_goes_to_the_page_comes_back(rows, examples, tokens, layers, heads):
    selection = Selection(rows, examples, tokens, layers, heads)
    assert from_page(to_page(selection)) == selection
    assert selection.rows.tolist() == sorted(set(rows))
    assert selection.heads == tuple(sorted(set(heads)))


def test_bits_start_at_the_lowest():
    assert to_page(Selection(rows=[0, 3, 9]))["rows"] == bytes([0b1001, 0b10])
    assert to_page(Selection())["rows"] == b""


def test_a_mask_selects_its_true_rows_and_a_mask_comes_out():
    selection = Selection(rows=np.array([False, True, True]))
    assert selection.rows.tolist() == [1, 2]
    assert selection.mask(2).tolist() == [False, True]


@pytest.mark.parametrize("wrong", [[-1], [0.5]])
def test_what_is_no_index_is_refused(wrong):
    with pytest.raises(ValueError, match=r"got rows .* wanted indices, whole numbers from 0 up"):
        Selection(rows=wrong)


def test_the_trait_takes_a_mapping_and_nothing_else():
    view = View()
    view.selection = {"tokens": [4]}
    assert view.selection == Selection(tokens=[4])
    for wrong in ([1, 2], {"rows": [-1]}, {"columns": [1]}, None):
        with pytest.raises(traitlets.TraitError):
            view.selection = wrong
    assert view.selection == Selection(tokens=[4])


def test_linked_widgets_share_what_is_picked_until_they_are_parted():
    a, b, c = View(rows=5), View(rows=5, tokens=3), View(tokens=3)
    b.selection = {"rows": [2]}
    together = link(a, b, c)
    assert a.selection == b.selection == c.selection == Selection(rows=[2])
    c.selection = c.selection.with_(tokens=[1])
    assert a.selection == b.selection == Selection(rows=[2], tokens=[1])
    together.unlink()
    a.selection = {}
    assert b.selection == c.selection == Selection(rows=[2], tokens=[1])


def test_each_widget_is_told_once():
    a, b = View(rows=5), View(rows=5)
    link(a, b)
    told = []
    b.observe(lambda change: told.append(change.new), names="selection")
    a.selection = {"rows": [1]}
    a.selection = {"rows": [1]}
    assert told == [Selection(rows=[1])]


def test_what_cannot_be_linked_says_why():
    with pytest.raises(ValueError, match="got 1 widgets to link; wanted two or more"):
        link(View(rows=5))
    with pytest.raises(TypeError, match="got Selection to link; wanted widgets that share a selection"):
        link(View(rows=5), Selection())
    with pytest.raises(ValueError, match=r"different numbers of rows \(View has 5 and View has 6\)"):
        link(View(rows=5), View(rows=6))
