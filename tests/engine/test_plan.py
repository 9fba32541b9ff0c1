"""Plans, without a model: each word is a token."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp import Ablate, Experiment, Patch, Steer
from nbinterp.engine.plan import make_plan
from nbinterp.sites import TokenizedPrompt


def tokens(text):
    words = text.split(" ")
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    spans = tuple((end - len(word) - 1, end - 1) for word, end in zip(words, ends, strict=True))
    return TokenizedPrompt(text, tuple(hash(word) % 1000 for word in words), tuple(words), spans)


def experiment(prompt, *layers):
    return Experiment(prompt, [Ablate(f"resid_post.{layer}", tokens=0) for layer in layers])


def test_a_shared_prompt_is_run_untouched_once():
    plan = make_plan([experiment("a b", 1), experiment("a b", 2), Experiment("a b"), experiment("c", 1)], tokens)
    assert [prompt.text for prompt in plan.prompts] == ["a b", "c"]


def test_rows_that_resume_together_share_a_batch():
    plan = make_plan([experiment("a b", 1), experiment("c d", 1), experiment("a b", 3), experiment("e", 1)], tokens)
    assert [(b.resume, len(b.rows[0].prompt), len(b.rows)) for b in plan.batches] == [(1, 1, 1), (1, 2, 2), (3, 2, 1)]


def test_edits_come_in_the_models_order_and_at_one_site_in_the_order_of_writing():
    acts = [Steer(f"resid_post.{layer}", direction=np.full(3, n), tokens=0) for n, layer in enumerate([2, 0, 2, 1])]
    (batch,) = make_plan([Experiment("a", acts)], tokens).batches
    (row,) = batch.rows
    assert batch.resume == 0
    assert [(e.layer, e.operation.arrays["direction"][0]) for e in row.edits] == [(0, 1), (1, 3), (2, 0), (2, 2)]


def test_the_source_of_a_patch_is_run_too():
    plan = make_plan([Experiment("a b", Patch("resid_post.1", source="x y z", tokens=0, source_tokens=-1))], tokens)
    assert [prompt.text for prompt in plan.prompts] == ["a b", "x y z"]
    assert plan.batches[0].rows[0].edits[0].source_positions == (2,)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), st.lists(st.integers(0, 3), max_size=3)),
        max_size=12,
    ),
    st.integers(1, 30),
)
def test_every_changed_row_is_planned_once_within_the_bound(wanted, bound):
    experiments = [experiment(" ".join(words), *layers) for words, layers in wanted]
    plan = make_plan(experiments, tokens, max_tokens=bound)
    keys = [row.key for batch in plan.batches for row in batch.rows]
    assert sorted(keys) == [(i, 0) for i, (_, layers) in enumerate(wanted) if layers]
    for batch in plan.batches:
        lengths = {len(row.prompt) for row in batch.rows}
        assert len(lengths) == 1, "nothing is padded"
        assert len(batch.rows) == 1 or len(batch.rows) * lengths.pop() <= bound
        assert {row.resume for row in batch.rows} == {batch.resume}


def test_a_token_that_is_not_there_is_refused_while_planning():
    with pytest.raises(IndexError, match="got token index 5"):
        make_plan([Experiment("a b", Ablate("resid_post.0", tokens=5))], tokens)
