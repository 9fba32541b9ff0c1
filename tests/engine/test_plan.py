"""Plans, without a model: each word is a token."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp import Ablate, Experiment, Patch, Steer
from nbinterp.anatomy import Anatomy, ModelInfo, Place
from nbinterp.engine.batching import OVERHEAD
from nbinterp.engine.plan import Batch
from nbinterp.engine.planning import make_plan
from nbinterp.engine.sizes import Sizes
from nbinterp.prompts import TokenizedPrompt

N = 4
PLACES = {
    "embed": Place("embed", "output"),
    "resid_pre": Place("", "input"),
    "attn_out": Place("attn", "output"),
    "resid_post": Place("", "output"),
    "logits": Place("", "output"),
}
CALLS = ({"embed.output": 3}, {"input": 3, "attn.output": 3, "output": 3}, {"norm.output": 3, "output": 10})
COMPONENTS = ["resid_pre.0", "attn_out.0", "resid_post.0", "resid_pre.2", "attn_out.2", "resid_post.3"]
JOINS = {"resid_pre.0": 0, "attn_out.0": 0, "resid_post.0": 1, "resid_pre.2": 2, "attn_out.2": 2, "resid_post.3": 4}


def info(**anatomy):
    return ModelInfo(
        "toy", "abc", "Toy", N, 3, 10, "blocks", 1, 1, 3, 12, anatomy=Anatomy(*CALLS, PLACES, {}, **anatomy)
    )


def sizes(bound=2**30, max_tokens=2048, **anatomy):
    return Sizes(info(**anatomy), weights=1000, itemsize=4, bound=bound, max_tokens=max_tokens)


def tokens(text):
    words = text.split(" ")
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    spans = tuple((end - len(word) - 1, end - 1) for word, end in zip(words, ends, strict=True))
    return TokenizedPrompt(text, tuple(hash(word) % 1000 for word in words), tuple(words), spans)


def plan(experiments, limits=None, **kwargs):
    limits = limits or sizes()
    return make_plan([e.on(limits.model) for e in experiments], tokens, limits, **kwargs)


def ablated(prompt, *sites, at=0):
    return Experiment(prompt, [Ablate(site, tokens=at) for site in sites])


def test_a_shared_prompt_is_run_untouched_once():
    made = plan(
        [
            ablated("a b", "resid_post.1"),
            ablated("a b", "resid_post.2"),
            Experiment("a b"),
            ablated("c", "resid_post.1"),
        ]
    )
    assert sorted(prompt.text for prompt in made.prompts) == ["a b", "c"]


@pytest.mark.parametrize(("site", "join"), [*JOINS.items(), ("embed", -1), ("logits", N)])
def test_a_row_joins_at_the_first_block_that_it_touches(site, join):
    (batch,) = plan([ablated("a b c", "resid_post.3", site, at=1)]).batches
    assert batch.rows[0].join == min(join, 4)
    assert batch.rows[0].start == 1


def test_rows_of_a_length_share_a_trace_in_the_order_in_which_they_join():
    made = plan(
        [
            ablated(p, s)
            for p, s in [("a b", "resid_post.2"), ("c d", "resid_post.0"), ("e f", "attn_out.0"), ("g", "resid_post.0")]
        ]
    )
    assert [(b.length, [row.join for row in b.rows]) for b in made.batches] == [(1, [1]), (2, [0, 1, 3])]
    assert [made.batches[1].active(layer) for layer in range(N)] == [1, 2, 2, 3]


def test_where_rows_cannot_join_later_all_of_a_batch_join_at_once():
    made = plan([ablated("a b", "resid_post.2"), ablated("c d", "resid_post.0")], sizes(grows=False))
    assert [[row.join for row in b.rows] for b in made.batches] == [[1], [3]]


def test_where_keys_cannot_be_kept_all_tokens_run():
    (batch,) = plan([ablated("a b c", "resid_post.0", at=2)], sizes(caches=False)).batches
    assert batch.start == 0


def test_edits_come_in_the_models_order_and_at_one_site_in_the_order_of_writing():
    acts = [Steer(f"resid_post.{layer}", direction=np.full(3, n), tokens=0) for n, layer in enumerate([2, 0, 2, 1])]
    (batch,) = plan([Experiment("a", acts)]).batches
    (row,) = batch.rows
    assert [(e.site.layer, e.operation.arrays["direction"][0], e.index) for e in row.edits] == [
        (0, 1, 1),
        (1, 3, 3),
        (2, 0, 0),
        (2, 2, 2),
    ]


def test_what_is_disabled_or_acts_on_generated_tokens_only_does_nothing_to_the_prompt():
    acts = [Ablate("resid_post.0", enabled=False), Ablate("resid_post.1", tokens=[], steps="all")]
    assert not plan([Experiment("a b", acts)]).batches


def test_the_source_of_a_patch_is_run_too():
    made = plan([Experiment("a b", Patch("resid_post.1", source="x y z", tokens=0, source_tokens=-1))])
    assert [prompt.text for prompt in made.prompts] == ["a b", "x y z"]
    ((run, position),) = made.batches[0].rows[0].edits[0].value.tokens
    assert (run.text, position) == ("x y z", 2)


def test_what_a_prompt_that_begins_alike_has_there_already_is_not_patched():
    def patch(**tokens):
        return plan([Experiment("a b c d", Patch("resid_post.1", source="a b x d", **tokens))]).batches

    assert not patch(tokens=1)
    assert not patch(tokens=[0, 1])
    (batch,) = patch()
    (row,) = batch.rows
    assert (row.start, row.edits[0].positions) == (2, (2, 3))
    # elsewhere than at its own place, and after something else was changed, it is not what stands there
    assert patch(tokens=1, source_tokens=0)
    acts = [Ablate("resid_post.0", tokens=0), Patch("resid_post.1", source="a b x d", tokens=1)]
    (batch,) = plan([Experiment("a b c d", acts)]).batches
    assert len(batch.rows[0].edits) == 2


def test_a_changed_source_runs_before_what_takes_from_it():
    inner = Experiment("x y", Ablate("resid_post.0", tokens=0))
    middle = Experiment("a b", Patch("attn_out.2", source=inner, tokens=0))
    outer = Experiment("a b", Patch("resid_post.3", source=middle, tokens=1))
    made = plan([outer, middle])
    place = {row.key: i for i, batch in enumerate(made.batches) for row in batch.rows}
    bound = {e: e.on(info()) for e in (inner, middle)}
    assert place[bound[inner]] < place[bound[middle]] < place[0, 0]
    assert place[bound[inner]] < place[1, 0]
    reads = {row.key: row.reads for batch in made.batches for row in batch.rows}
    assert [str(site) for site in reads[bound[middle]]] == ["resid_post.3"]


TOUCHES = st.tuples(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.lists(st.sampled_from(COMPONENTS), max_size=3),
    st.integers(0, 5),
)


@given(st.lists(TOUCHES, max_size=12), st.integers(1, 30), st.integers(1, 4000), st.booleans())
def test_every_changed_row_is_planned_once_within_the_bounds(wanted, max_tokens, bound, grows):
    limits = sizes(bound, max_tokens, grows=grows)
    experiments = [ablated(" ".join(words), *acts, at=at % len(words)) for words, acts, at in wanted]
    made = plan(experiments, limits)
    keys = [row.key for batch in made.batches for row in batch.rows]
    assert sorted(keys) == [(i, 0) for i, (_, acts, _) in enumerate(wanted) if acts]
    for stage in made.stages:
        assert {row.prompt for batch in stage.batches for row in batch.rows} <= set(stage.prompts)
        assert len(stage.prompts) == 1 or sum(limits.kept(len(p)) for p in stage.prompts) <= bound
    for batch in made.batches:
        assert {len(row.prompt) for row in batch.rows} == {batch.length}, "nothing is padded"
        assert len(batch.rows) == 1 or len(batch.rows) * (batch.length - batch.start) <= max_tokens
        assert len(batch.rows) == 1 or limits.batch(batch) <= bound
        assert all(batch.start <= row.start for row in batch.rows)
        assert [row.join for row in batch.rows] == sorted(row.join for row in batch.rows)
        assert grows or len({row.join for row in batch.rows}) == 1


def cost(batches):
    """The planner's own measure, written out: tokens and weights of every block that runs, and of the unembedding."""
    total = 0.0
    for batch in batches:
        for layer in range(N):
            active = batch.active(layer)
            total += (OVERHEAD if active else 0) + active * (batch.length - batch.start)
        total += OVERHEAD * sizes().unembedding_layers
    return total


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 29), st.sampled_from(COMPONENTS)), min_size=1, max_size=5))
def test_rows_are_grouped_by_their_first_token_at_the_least_cost(rows):
    """Against every way of cutting the sorted starts."""
    prompt = " ".join(["a"] * 30)
    made = plan([ablated(prompt, site, at=at) for at, site in rows])
    starts = sorted({at for at, _ in rows})
    best = float("inf")
    for cuts in itertools.product([False, True], repeat=len(starts) - 1):
        groups = [[starts[0]]]
        for start, cut in zip(starts[1:], cuts, strict=True):
            if cut:
                groups.append([])
            groups[-1].append(start)
        batches = [merged(plan([ablated(prompt, s, at=at) for at, s in rows if at in g]).batches) for g in groups]
        best = min(best, cost(batches))
    assert cost(made.batches) == pytest.approx(best)


def merged(batches):
    """All rows in one batch that begins where the first of them does."""
    rows = sorted((row for batch in batches for row in batch.rows), key=lambda row: row.join)
    return Batch(min(row.start for row in rows), tuple(rows))


def test_the_plan_counts_its_work():
    text = "a b c d e f"
    made = plan([ablated(text, "resid_post.1", at=-1)], knows=lambda prompt: True)
    # one token in blocks 2 and 3; a full pass each, untouched and changed, would be 2 · 6 · 4
    assert (made.work, made.naive_work, made.rows) == (2, 48, 1)
    assert made.share == pytest.approx(2 / 48)
    assert plan([ablated(text, "resid_post.1", at=-1)]).work == 2 + 24
    said = str(made)
    assert "1 changed row in 1 trace, 0 of 1 prompt still to be run untouched" in said
    assert "work: 2 of 48 token-layers, 4.2% of a full pass for each row and prompt" in said
    assert "1 row from block 2 of 4 on, tokens 5 to 5" in said


def test_a_token_that_is_not_there_is_refused_while_planning():
    with pytest.raises(IndexError, match="got token index 5"):
        plan([ablated("a b", "resid_post.0", at=5)])


def test_values_that_do_not_fit_the_tokens_are_refused():
    with pytest.raises(
        ValueError, match="got a Patch that takes 3 tokens of 'x y z' for 2 of 'a b'; take as many or a single one"
    ):
        plan([Experiment("a b", Patch("resid_post.1", source="x y z"))])
    with pytest.raises(
        ValueError, match="got a Patch with values for 3 tokens, for 2 of 'a b'; give as many or a single one"
    ):
        plan([Experiment("a b", Patch("resid_post.1", source=np.zeros((3, 3))))])
