"""Readouts against plain torch on the same states, in float64."""

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

import nbinterp as nb
from nbinterp.engine.readout import Readout, _blocks, in_a_row
from tests.conftest import random_module
from tests.engine.oracle import hooked, same
from tests.engine.test_sizes import Peak

PROMPT = "The capital of France is Paris"


def by_hand(states, readout):
    """Everything that a reading has, in float64, of logits that are all held at once."""
    logits = readout.logits(states).astype(np.float64)
    log_p = logits - logits.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    p = np.exp(log_p)
    return logits, log_p, -(p * log_p).sum(-1), (p[-1] * (log_p[-1] - log_p)).sum(-1)


def test_of_the_last_residual_stream_it_gives_the_logits_of_every_token(small):
    last = f"resid_post.{small.info.n_layers - 1}"
    _, seen = hooked(small, PROMPT, reads=[last, "logits"])
    same(small.readout.logits(seen[nb.Site.of(last)]), seen[nb.Site.of("logits")])


def states_of(model, n_layers=3, n_tokens=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n_layers, n_tokens, model.info.d_model)).astype(np.float32)


def test_a_reading_is_what_all_logits_at_once_say(small):
    states, tracked = states_of(small), [7, 0, small.info.n_vocab - 1]
    reading = small.readout.read(states, top=4, track=tracked)
    logits, log_p, entropy, kl = by_hand(states, small.readout)
    assert np.abs(reading.entropy - entropy).max() < 1e-4
    assert np.abs(reading.kl - kl).max() < 1e-4 * max(1, kl.max())
    assert reading.kl[-1].max() < 1e-5
    same(np.exp(log_p).max(-1), reading.top_probability[..., 0])
    same(np.take_along_axis(logits, reading.top, axis=-1), -np.sort(-logits, axis=-1)[..., :4])
    for n, token in enumerate(tracked):
        same(reading.logit[n], logits[..., token])
        assert np.abs(reading.log_probability[n] - log_p[..., token]).max() < 1e-4
        own = logits[..., [token]]
        before = (logits > own).sum(-1)
        # a product of other rows may round a logit that is nearly equal the other way
        assert np.abs(reading.rank[n] - before).max() <= 1


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


def test_of_equal_logits_the_lower_id_comes_first(tokenizer):
    module = random_module("llama")
    with torch.no_grad():
        module.lm_head.weight[100:110] = module.lm_head.weight[100]
    model = nb.Model.open(module, tokenizer=tokenizer, name="ties", device="cpu")
    ranks = model.readout.read(states_of(model), track=range(100, 110)).rank
    np.testing.assert_array_equal(ranks - ranks[0], np.arange(10)[:, None, None] * np.ones_like(ranks))


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_no_bound_changes_what_is_read_and_each_holds(llama, rows, monkeypatch):
    states = states_of(llama, 5, 6)
    wanted = llama.readout.read(states, track=[3])
    bound = rows * 12 * llama.info.n_vocab
    monkeypatch.setattr(llama._executor.kept, "_bound", bound)
    with Peak(llama.nnsight._module.parameters()) as peak:
        found = llama.readout.read(states, track=[3])
    # beside the logits, what is read itself and what is taken of it
    assert peak.most <= bound + 4 * llama.info.n_vocab + 2**19
    # products of other sizes round logits that are nearly equal the other way
    assert np.abs(found.rank - wanted.rank).max() <= 1
    for name in ("entropy", "kl", "logit", "log_probability", "top_probability"):
        same(getattr(found, name), getattr(wanted, name))


def test_blocks_cover_each_state_once_the_last_layer_of_a_token_first():
    for n_tokens, n_layers, rows in [(5, 3, 256), (5, 3, 4), (5, 3, 2), (1, 9, 4), (7, 1, 3)]:
        seen = np.zeros((n_tokens, n_layers), int)
        for tokens, layers in _blocks(n_tokens, n_layers, rows):
            assert seen[tokens, layers].size <= rows
            assert layers.stop == n_layers or (seen[tokens, layers.stop] == 1).all()
            seen[tokens, layers] += 1
        assert (seen == 1).all()


def test_what_is_read_can_be_stopped_and_says_how_far_it_is(llama, monkeypatch):
    monkeypatch.setattr(llama._executor.kept, "_bound", 4 * 12 * llama.info.n_vocab)
    done = []
    llama.readout.read(states_of(llama), advance=done.append)
    assert sum(done) == 15
    assert len(done) > 1
    with pytest.raises(KeyboardInterrupt):
        llama.readout.read(states_of(llama), cancel=lambda: True)


def test_what_is_kept_is_given_again_until_the_weights_change(tokenizer):
    model = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    states, asked = states_of(model), []
    first = model.readout.read(states, track=[7], keep=True)
    again = model.readout.read(states.copy(), track=[7], keep=True, advance=asked.append)
    assert again is first
    assert asked == [states.shape[0] * states.shape[1]]
    # what is not to be kept takes nobody's place
    assert model.readout.read(states + 1, track=[7]) is not first
    assert model.readout.read(states, track=[7], keep=True) is first
    assert model.readout.read(states, track=[8], keep=True).logit[0, 0, 0] != first.logit[0, 0, 0]
    model.readout.read(states, track=[7], keep=True)
    with torch.no_grad():
        model.nnsight._module.lm_head.weight.mul_(2)
    np.testing.assert_allclose(model.readout.read(states, track=[7], keep=True).logit, 2 * first.logit, rtol=1e-5)


def test_a_reading_takes_over_some_tokens_of_another(llama):
    states = states_of(llama)
    changed = states.copy()
    changed[1:, [0, 2]] *= -2
    base, all_of_it = (llama.readout.read(one, track=[7, 9], top=3) for one in (states, changed))
    merged = base.with_(llama.readout.read(changed[:, [0, 2]], track=[7, 9], top=3), [0, 2])
    for name in ("top", "top_probability", "entropy", "kl", "logit", "log_probability", "rank"):
        found = getattr(merged, name)
        np.testing.assert_allclose(found, getattr(all_of_it, name), rtol=1e-4, atol=1e-4)
        assert found.shape == getattr(base, name).shape
        assert not found.flags.writeable


class Halved(LlamaForCausalLM):
    """A model that does something behind its unembedding that nobody declared."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits / 2
        return output


def test_a_model_that_does_something_else_behind_its_blocks_is_refused(tokenizer):
    module = random_module("llama")
    module.__class__ = Halved
    model = nb.Model.open(module, tokenizer=tokenizer, name="halved", device="cpu")
    with pytest.raises(ValueError, match=r"not what model\.norm, lm_head makes of the last residual stream"):
        _ = model.readout


def test_states_that_are_none_are_refused(llama):
    with pytest.raises(ValueError, match=r"got states of shape \[3\].*wanted numbers \[\.\.\., 32\]"):
        llama.readout.logits(np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        llama.readout.read(np.full((1, 1, 32), np.nan))


def test_in_half_precision_it_says_what_the_model_says(tokenizer):
    model = nb.Model.open(random_module("gemma2"), tokenizer=tokenizer, name="half", device="cpu", dtype="bfloat16")
    states = states_of(model)
    reading = model.readout.read(states)
    _, _, entropy, _ = by_hand(states, model.readout)
    assert np.abs(reading.entropy - entropy).max() < 1e-3
    assert isinstance(model.readout, Readout)


def test_modules_are_found_by_the_ends_that_are_passed():
    ends = ["norm.input", "norm.output", "model.output", "head.input", "head.a.input", "head.a.output", "head.output"]
    assert in_a_row(ends) == ("norm", "head")


def test_logits_grow_along_a_direction_as_the_readout_says(small):
    states = states_of(small)[0]
    vectors, constants, logits = small.readout.toward(states, {5: 1.0, 9: -0.5})
    same((vectors * states).sum(-1) + constants, logits)
    raw = small.readout.logits(states).astype(np.float64)
    if small.readout.cap:
        raw = small.readout.cap * np.arctanh(raw / small.readout.cap)
    same(logits, raw[:, 5] - 0.5 * raw[:, 9], 1e-3)
