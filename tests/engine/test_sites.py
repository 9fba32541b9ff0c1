"""Every site of every family against plain PyTorch hooks: read, and changed."""

import functools

import numpy as np
import pytest
import torch

from nbinterp import Ablate, Experiment, Patch, Scale, Site
from nbinterp.sites import COMPONENTS, HEADED, UNLAYERED
from tests.engine.oracle import hooked, same

PROMPT = "If this month is March, next month is"
# transformers adds Falcon's alibi twice when it computes attention step by step, and so says something else then
NO_PATTERN = {"falcon_rw": {"pattern"}}
PARALLEL = ("phi", "gpt_neox", "falcon_7b", "falcon_40b")


def sites(model, layer):
    """One site of each component that a model has, and one of a head's."""
    for component in model.info.anatomy.places:
        if component == "pattern":
            continue
        yield Site(component, None if component in UNLAYERED else layer)
        if component in HEADED:
            yield Site(component, layer, model.info.heads(Site(component, layer)) - 1)


def test_each_family_has_all_components_but_those_that_its_blocks_do_not_have(small):
    lacking = {"resid_mid"} if small.info.name in PARALLEL else NO_PATTERN.get(small.info.name, set())
    assert set(small.info.anatomy.lacking) == lacking
    assert set(small.info.anatomy.places) == set(COMPONENTS) - lacking
    assert small.info.anatomy.grows
    assert small.info.anatomy.caches


@pytest.mark.parametrize("layer", [0, 3])
def test_what_is_read_is_what_hooks_see(small, layer):
    wanted = [*sites(small, layer), Site(f"{small.info.blocks}.{layer}"), Site(f"{small.info.blocks}.2:input")]
    logits, seen = hooked(small, PROMPT, reads=wanted)
    result = small.run(Experiment(PROMPT, read=wanted))
    same(result.logits[0], logits)
    for site in wanted:
        array = result.activations[site][0]
        heads = small.info.heads(site) if site.head is None else 0
        assert array.ndim == (3 if heads else 2)
        same(array.reshape(len(array), -1), seen[site])


def test_a_change_at_each_site_is_what_hooks_do(small):
    wanted = [Site("resid_post", 1), Site("resid_post", 3), Site("logits")]
    rows = [(site, at) for layer in (0, 2) for site in sites(small, layer) for at in ([2], [0, 4], [-1])]
    experiments = [Experiment(PROMPT, Scale(site, factor=-0.5, tokens=at), read=wanted) for site, at in rows]
    for (site, at), result in zip(rows, small.run(experiments), strict=True):
        logits, seen = hooked(small, PROMPT, [(site, at, lambda x: -0.5 * x)], reads=wanted)
        try:
            same(result.logits[0], logits)
            for read in wanted:
                same(result.activations[read][0], seen[read])
        except AssertionError as error:
            raise AssertionError(f"{site} at {at}: {error}") from None


def test_a_change_at_the_last_token_alone_is_what_hooks_do(small):
    """Alone in its batch, such a row runs a single token; so does each step of a generation."""
    for site in sites(small, 2):
        result = small.run(Experiment(PROMPT, Scale(site, factor=-0.5, tokens=-1)))
        same(result.logits[0], hooked(small, PROMPT, [(site, [-1], lambda x: -0.5 * x)])[0])


def without_pattern_it_says_so(test):
    """Run a test of the pattern, or see it refused by a model that has none."""

    @functools.wraps(test)
    def tested(small):
        if small.info.name not in NO_PATTERN:
            return test(small)
        with pytest.raises(ValueError, match="which falcon_rw .* does not have: this model does not say the same when"):
            test(small)

    return tested


def pattern_by_hand(model, layer):
    """Attention probabilities ``[n_heads, n_query, n_key]`` as the module itself returns them."""
    module, seen = model.nnsight._module, []
    path = model.info.event(Site("z", layer))[0].rpartition(".")[0]
    hook = module.get_submodule(path).register_forward_hook(lambda m, a, o: seen.append(o[1][0]))
    before = module.config._attn_implementation
    module.config._attn_implementation = "eager"
    try:
        with torch.no_grad():
            module(torch.tensor([model.tokens(PROMPT).ids]), use_cache=False)
    finally:
        module.config._attn_implementation = before
        hook.remove()
    return seen[0].numpy()


@without_pattern_it_says_so
def test_patterns_are_what_the_modules_return(small):
    result = small.run(Experiment(PROMPT, read=["pattern.1", "pattern.2.3"]))
    pattern = result.activations[Site("pattern", 1)][0]
    same(pattern, pattern_by_hand(small, 1))
    same(pattern.sum(-1), np.ones(pattern.shape[:2]))
    same(result.activations[Site("pattern", 2, 3)][0], pattern_by_hand(small, 2)[3])


@without_pattern_it_says_so
def test_a_changed_pattern_mixes_the_values_anew(small):
    """Hand-computed head: z = pattern · v, with the value heads that the query heads share."""
    group = small.info.n_heads // small.info.n_kv_heads
    result = small.run(
        Experiment(
            PROMPT, Scale("pattern.2.1", factor=3.0, tokens=[3, 5]), read=["pattern.2", "v.2", "z.2", "resid_pre.2"]
        )
    )
    pattern, values = result.activations[Site("pattern", 2)][0], result.activations[Site("v", 2)][0]
    expected = pattern_by_hand(small, 2)
    expected[1, [3, 5]] *= 3
    same(pattern, expected)
    z = np.einsum("hqk,khd->qhd", pattern, np.repeat(values, group, axis=1))
    same(result.activations[Site("z", 2)][0], z)


@without_pattern_it_says_so
def test_a_share_of_a_changed_pattern(small):
    acts = [
        Ablate("pattern.2.1", tokens=[3, 5], amount=0.25),
        Patch("pattern.2.0", source=PROMPT, tokens=4, source_tokens=0, amount=0.5),
    ]
    result = small.run(Experiment(PROMPT, acts, read="pattern.2"))
    expected = pattern_by_hand(small, 2)
    expected[1, [3, 5]] *= 0.75
    expected[0, 4] = (expected[0, 4] + expected[0, 0]) / 2
    same(result.activations[Site("pattern", 2)][0], expected)


@without_pattern_it_says_so
def test_the_attention_implementation_is_as_it_was(small):
    before = small.nnsight._module.config._attn_implementation
    small.run(Experiment(PROMPT, Ablate("pattern.0.0"), read="pattern.1"))
    assert small.nnsight._module.config._attn_implementation == before
