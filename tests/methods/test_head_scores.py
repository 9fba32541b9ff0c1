"""Scores of heads: exact on a circuit that is known, and fooled neither by fixed periods nor by position."""

import numpy as np
import pytest

from nbinterp.methods.head_scores import head_scores
from tests.methods.induction import INDUCTION, N_POSITIONS, PREVIOUS, opened


@pytest.fixture(scope="module")
def model():
    return opened()


@pytest.fixture(scope="module")
def found(model):
    return head_scores(model, lengths=(6, 15), n_sequences=8)


def test_exactly_the_known_heads_are_named_with_their_known_scores(found):
    frame = found.frame()
    named = frame[frame["named"]]
    assert named[["kind", "layer", "head"]].to_numpy().tolist() == [
        ["induction", 1, int(INDUCTION[-1])],
        ["previous token", 0, int(PREVIOUS[-1])],
    ]
    np.testing.assert_allclose(named[["score", "low", "high"]], 1, atol=1e-6)
    assert found.named("induction")["copy"].tolist() == [1.0]
    assert found.copying.query("not named")["copy"].max() == 0
    assert "induction: 1.2 (1.00); chance" in repr(found)
    assert "write 100% of the words they look at into their five likeliest tokens, random heads 0%" in repr(found)


def test_chance_of_the_previous_token_is_that_of_looking_everywhere_alike(found):
    chance = found.chance.sel(kind="previous token").to_numpy()
    for sequence, period in enumerate(found.periods):
        wanted = np.mean([1 / (i + 1) for i in range(1, 2 * period)])
        np.testing.assert_allclose(chance[sequence], wanted)
    assert found.periods.min() >= 6
    assert found.periods.max() <= 15
    assert len(set(found.periods)) > 1


def test_a_head_that_looks_a_fixed_way_back_is_no_induction_head():
    positional = opened(attends=9)
    fixed = head_scores(positional, lengths=(10, 10), n_sequences=4)
    line = fixed.frame().query("kind == 'induction' and layer == 0 and head == 0").iloc[0]
    # it scores as if it knew the words: so it does where nothing is repeated
    assert line["score"] == pytest.approx(1, abs=1e-6)
    assert line["chance"] == pytest.approx(1, abs=1e-6)
    assert not line["named"]
    assert "! all periods are equal" in repr(fixed)
    mixed = head_scores(positional, lengths=(6, 15), n_sequences=8)
    line = mixed.frame().query("kind == 'induction' and layer == 0 and head == 0").iloc[0]
    assert line["score"] < 0.5
    for scores in (fixed, mixed):
        assert scores.named("induction").empty
        assert scores.named("duplicate token").empty
    assert "induction: no head" in repr(mixed)


def test_the_same_seed_gives_the_same_scores(model):
    one, two, other = (head_scores(model, lengths=(6, 8), n_sequences=3, seed=s, copying=False) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.scores, two.scores)
    assert np.abs(one.scores.to_numpy() - other.scores.to_numpy()).max() > 0


def test_the_chart_has_a_map_for_each_kind(found):
    spec = found.chart().to_dict()
    assert sorted(len(rows) for rows in spec["datasets"].values()) == [12, 12, 12]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"kinds": ("name mover",)}, "wanted some of 'induction', 'previous token', 'duplicate token', each once"),
        ({"n_sequences": 2}, "got n_sequences=2; wanted 3 at least, so that there is an interval"),
        ({"lengths": (3, 9)}, "wanted a least and a greatest period, from 4 tokens up"),
        (
            {"lengths": (10, 16)},
            "got periods of up to 16 tokens; .* has 31 words that begin with a space: choose lengths up to 15",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        head_scores(model, **asked)
    assert N_POSITIONS >= 30


def test_an_unknown_kind_is_refused(found):
    with pytest.raises(
        LookupError, match="got the kind 'copy'; scored were 'induction', 'previous token', 'duplicate token'"
    ):
        found.named("copy")


def test_a_cancelled_run_ends(model):
    with pytest.raises(KeyboardInterrupt):
        head_scores(model, lengths=(6, 8), n_sequences=3, seed=77, cancel=lambda: True)
