"""Generation against transformers' own, and against plain full passes with hooks."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp import Ablate, Experiment, Patch, Scale, Site, Steer
from tests.engine.oracle import hooked, same

PROMPTS = ["If this month is March, next month is", "The capital of France is", "One two three"]
STEPS = 6


def own(model, prompt, n=STEPS, **settings):
    """What transformers' own generate gives."""
    ids = torch.tensor([model.tokens(prompt).ids])
    with torch.no_grad():
        out = model.nnsight._module.generate(ids, max_new_tokens=n, do_sample=False, pad_token_id=0, **settings)
    return tuple(out[0, ids.shape[1] :].tolist())


class Prompted:
    """A model that takes token ids for a prompt, for the oracle."""

    def __init__(self, model, ids):
        self.nnsight, self.info, self._ids = model.nnsight, model.info, ids

    def tokens(self, prompt):
        return type("Ids", (), {"ids": self._ids})


def by_hand(model, prompt, edits, n=STEPS, reads=()):
    """Greedy decoding by full passes: `edits(n_prompt, n_generated)` gives the oracle's edits of a pass."""
    start = model.tokens(prompt).ids
    ids, seen = list(start), []
    for step in range(n):
        logits, read = hooked(Prompted(model, tuple(ids)), prompt, edits(len(start), step), reads)
        seen.append({site: array[-1] for site, array in read.items()})
        ids.append(int(logits.argmax()))
    return tuple(ids[len(start) :]), seen


def test_untouched_it_is_transformers_own(small):
    said = small.generate(Experiment(PROMPTS), max_new_tokens=STEPS)
    for prompt, base, changed in zip(PROMPTS, said.base, said.changed, strict=True):
        assert base.ids == own(small, prompt)
        assert changed == base
    assert said.finished


@pytest.mark.parametrize(("steps", "active"), [("all", range(99)), ([1, 3], [1, 3]), (slice(2, None), range(2, 99))])
def test_interventions_act_at_their_tokens_and_steps(small, steps, active):
    v = np.random.default_rng(0).normal(size=small.info.d_model) * 2
    act = Steer("resid_post.1", direction=v, tokens=-1, steps=steps)
    other = Scale("mlp_out.2", factor=0.0, tokens=[], steps=steps)
    reads = ["resid_post.3", "z.1", "v.2.0"]
    said = small.generate(Experiment(PROMPTS[0], [act, other], read=reads), max_new_tokens=STEPS)

    def edits(n, generated):
        at = [n + step for step in range(generated) if step in active]
        found = [("resid_post.1", [n - 1, *at], lambda x: x + torch.tensor(v).float())]
        return found + ([("mlp_out.2", at, lambda x: x * 0)] if at else [])

    ids, seen = by_hand(small, PROMPTS[0], edits, reads=reads)
    assert said.changed[0].ids == ids
    assert said.base[0].ids == own(small, PROMPTS[0])
    for site, arrays in said.changed[0].activations.items():
        assert len(arrays) == STEPS
        for array, expected in zip(arrays, seen, strict=True):
            same(array.reshape(-1), expected[site], 1e-3)


def test_a_share_of_a_change_is_carried_out_at_every_step(small):
    unit = np.random.default_rng(0).normal(size=small.info.d_model)
    unit = torch.tensor(unit / np.linalg.norm(unit)).float()
    value = hooked(small, PROMPTS[1], reads=["resid_post.2"])[1][Site("resid_post", 2)][-1]
    acts = [
        Ablate("mlp_out.1", tokens=-1, steps="all", amount=0.5),
        nb.Project(
            "attn_out.2", on=nb.Direction(None, None, unit.numpy()), out=True, tokens=[], steps="all", amount=0.75
        ),
        Patch("resid_post.2", source=PROMPTS[1], tokens=[], source_tokens=-1, steps=[1, 2], amount=0.3),
    ]

    def edits(n, generated):
        at = list(range(n, n + generated))
        found = [("mlp_out.1", [n - 1, *at], lambda x: x / 2)]
        if at:
            found.append(("attn_out.2", at, lambda x: x - 0.75 * (x @ unit)[:, None] * unit))
        if at[1:]:
            found.append(("resid_post.2", at[1:3], lambda x: 0.7 * x + 0.3 * torch.tensor(value)))
        return found

    reads = ["resid_post.3"]
    said = small.generate(Experiment(PROMPTS[0], acts, read=reads), max_new_tokens=STEPS).changed[0]
    ids, seen = by_hand(small, PROMPTS[0], edits, reads=reads)
    assert said.ids == ids
    for array, expected in zip(said.activations[Site("resid_post", 3)], seen, strict=True):
        same(array, expected[Site("resid_post", 3)], 1e-3)


def test_values_taken_from_other_runs_hold_at_every_step(small):
    source = Experiment(PROMPTS[1], Ablate("resid_post.0", tokens=1))
    acts = [
        Patch("resid_post.2", source=source, tokens=[], source_tokens=-1, steps=[0, 1]),
        Ablate("attn_out.1", mean=PROMPTS, tokens=[], steps="all"),
    ]
    value = hooked(small, PROMPTS[1], [("resid_post.0", [1], lambda x: x * 0)], ["resid_post.2"])[1][
        Site("resid_post", 2)
    ][-1]
    references = [hooked(small, prompt, reads=["attn_out.1"])[1][Site("attn_out", 1)] for prompt in PROMPTS]
    mean = torch.tensor(np.concatenate(references).mean(axis=0))

    def edits(n, generated):
        at = list(range(n, n + generated))
        patch = [("resid_post.2", at[:2], lambda x: torch.tensor(value).expand_as(x))]
        return [*patch, ("attn_out.1", at, lambda x: mean.expand_as(x))] if at else []

    assert (
        small.generate(Experiment(PROMPTS[0], acts), max_new_tokens=STEPS).changed[0].ids
        == by_hand(small, PROMPTS[0], edits)[0]
    )


def test_a_patch_of_several_tokens_has_no_step_to_go_to(small):
    act = Patch("resid_post.2", source=PROMPTS[1], steps="all")
    with pytest.raises(ValueError, match="takes 5 tokens of 'The capital of France is' for 1 of"):
        small.generate(Experiment(PROMPTS[1], act), max_new_tokens=2)


def test_a_seed_repeats_and_base_and_changed_share_it(small):
    settings = {"max_new_tokens": STEPS, "temperature": 1.0, "seed": 3}
    first, again = (small.generate(PROMPTS[0], **settings) for _ in range(2))
    assert first.base[0].ids == again.base[0].ids == first.changed[0].ids
    together = small.generate(Experiment(PROMPTS), **settings)
    assert together.base[0].ids == first.base[0].ids
    others = {small.generate(PROMPTS[0], **(settings | {"seed": seed})).base[0].ids for seed in range(5)}
    assert len(others) > 1


def test_filters_leave_the_likeliest_tokens(small):
    greedy = small.generate(PROMPTS[0], max_new_tokens=STEPS).base[0].ids
    for only in ({"top_k": 1}, {"top_p": 1e-9}):
        assert small.generate(PROMPTS[0], max_new_tokens=STEPS, temperature=1.0, **only).base[0].ids == greedy


def test_sampling_follows_the_probabilities(model):
    """4,000 draws of one token against the model's own probabilities: a chi-square within 4 standard deviations."""
    from nbinterp.engine.generation import _choose
    from nbinterp.experiment import Generation

    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0, 1.5])
    for settings, kept in (
        (Generation(temperature=1.0), [0, 1, 2, 3, 4, 5]),
        (Generation(temperature=0.7, top_k=3), [0, 1, 5]),
        (Generation(temperature=1.0, top_p=0.7), [0, 5]),
    ):
        p = np.exp(logits.numpy() / settings.temperature) * np.isin(np.arange(6), kept)
        p /= p.sum()
        random = torch.Generator().manual_seed(0)
        counts = np.bincount([_choose(logits.clone(), settings, random) for _ in range(4000)], minlength=6)
        assert not counts[p == 0].any()
        expected = 4000 * p[kept]
        chi = ((counts[kept] - expected) ** 2 / expected).sum()
        freedom = len(kept) - 1
        assert chi < freedom + 4 * (2 * freedom) ** 0.5


def test_it_ends_where_the_model_or_the_user_says_so(model):
    chat = nb.Chat([{"role": "user", "content": "What is the capital of France?"}])
    said = model.generate(chat, max_new_tokens=30)
    assert said.texts == ("The capital of France is Paris.",)
    assert model.vocabulary.tokens[said.base[0].ids[-1]] == "<|im_end|>"
    stopped = model.generate(chat, max_new_tokens=30, stop=" France")
    assert stopped.texts == ("The capital of France",)


def test_chats_are_steered_by_role(model):
    chat = nb.Chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a city in France."}])
    tokens = model.tokens(chat)
    assert (
        "".join(t for t, role in zip(tokens.tokens, tokens.roles, strict=True) if role == "user")
        == "Name a city in France."
    )
    result = model.run(Experiment(chat, Ablate("resid_post.3", tokens=nb.Role("system"))))
    at = [i for i, role in enumerate(tokens.roles) if role == "system"]
    logits, _ = hooked(model, chat, [("resid_post.3", at, torch.zeros_like)])
    same(result.logits[0], logits)
    assert np.abs(result.logits - result.base_logits).max() > 0.1


def test_a_message_that_says_what_the_template_says_is_found_where_it_stands(model):
    messages = [("user", "user"), ("assistant", "You are"), ("user", " system ")]
    tokens = model.tokens(nb.Chat(messages))
    said = [[t for t, turn in zip(tokens.tokens, tokens.turns, strict=True) if turn == i] for i in range(3)]
    assert ["".join(each).strip() for each in said] == ["user", "You are", "system"]
    lines = tokens.text.split("<|im_start|>")
    starts = [tokens.spans[tokens.turns.index(i)][0] for i in range(3)]
    # the template's own message comes first, then each of ours behind its role
    assert [tokens.text[:start].count("<|im_start|>") for start in starts] == [2, 3, 4]
    assert len(lines) == 6


def test_a_model_without_a_template_has_no_chats(small, monkeypatch):
    monkeypatch.setattr(small._tokenizer.own, "chat_template", None)
    with pytest.raises(
        ValueError, match="got a chat for .*, whose tokenizer has no chat template; write the prompt as text"
    ):
        small.generate(nb.Chat([("user", "a chat of its own")]))


def test_it_streams_and_can_be_stopped(small):
    v = np.random.default_rng(0).normal(size=small.info.d_model) * 2
    experiment = Experiment(PROMPTS[0], Steer("resid_post.1", direction=v, steps="all"))
    whole = small.generate(experiment, max_new_tokens=STEPS)
    stream = small.stream(experiment, max_new_tokens=STEPS)
    first = [next(stream) for _ in range(4)]
    stream.close()
    assert [(t.step, t.changed) for t in first] == [(0, False), (0, True), (1, False), (1, True)]
    assert [t.id for t in first if t.changed] == list(whole.changed[0].ids[:2])
    assert first[0].text == small.vocabulary.tokens[first[0].id]
    asked = []
    part = small.generate(experiment, max_new_tokens=STEPS, cancel=lambda: asked.append(1) or len(asked) == 3)
    assert not part.finished
    assert part.changed[0].ids == whole.changed[0].ids[:3]


def test_each_token_can_bring_the_likeliest_ones(small):
    v = np.random.default_rng(0).normal(size=small.info.d_model) * 2
    experiment = Experiment(PROMPTS[0], Steer("resid_post.1", direction=v, steps="all"))
    settings = {"max_new_tokens": 3, "temperature": 1.3, "top_k": 4, "seed": 1}
    said = small.generate(experiment, top=5, **settings)
    plain = small.generate(experiment, **settings)
    for spoken, bare in ((said.base[0], plain.base[0]), (said.changed[0], plain.changed[0])):
        assert (spoken.ids, spoken.probabilities, bare.top) == (bare.ids, bare.probabilities, ())
        assert [len(step) for step in spoken.top] == [5, 5, 5]
    # before temperature and filters, at each step what a full pass over the text so far gives
    ids = small.tokens(PROMPTS[0]).ids
    for step, alternatives in enumerate(said.changed[0].top):
        so_far = (*ids, *said.changed[0].ids[:step])
        edit = ("resid_post.1", slice(None), lambda x: x + torch.tensor(v).float())
        p = torch.tensor(hooked(Prompted(small, so_far), "", [edit])[0]).softmax(-1)
        best = p.topk(5)
        assert [text for text, _ in alternatives] == [small.vocabulary.tokens[i] for i in best.indices]
        np.testing.assert_allclose([share for _, share in alternatives], best.values, rtol=1e-3)
        assert said.changed[0].probabilities[step] == pytest.approx(float(p[said.changed[0].ids[step]]), rel=1e-3)
    streamed = list(small.stream(experiment, top=5, **settings))
    for changed, spoken in ((False, said.base[0]), (True, said.changed[0])):
        assert tuple(token.top for token in streamed if token.changed == changed) == spoken.top
    (token, *_) = small.stream(PROMPTS[0], max_new_tokens=1, top=10**9)
    assert len(token.top) == small.info.n_vocab
    assert sum(share for _, share in token.top) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("top", [-1, 2.0, True, "5"])
def test_a_number_of_alternatives_that_is_none_is_refused(small, top):
    with pytest.raises(
        ValueError, match="^got top=.*; wanted how many of the likeliest tokens to note, a whole number"
    ):
        next(small.stream(PROMPTS[0], top=top))


def test_several_experiments_are_decoded_together(small, monkeypatch):
    v, w = np.random.default_rng(0).normal(size=(2, small.info.d_model)) * 2
    experiments = [
        Experiment(PROMPTS[0], Steer("resid_post.1", direction=direction, steps="all"), read="resid_post.2")
        for direction in (v, w)
    ]
    alone = [small.generate(experiment, max_new_tokens=STEPS) for experiment in experiments]
    rows, go_on = [], small._executor.continue_
    monkeypatch.setattr(small._executor, "continue_", lambda ids, *rest: rows.append(len(ids)) or go_on(ids, *rest))
    together = small.generate(experiments, max_new_tokens=STEPS)
    # untouched once, and each under its own interventions
    assert rows[0] == 3
    assert len({said.changed[0].ids for said in together}) == 2
    for said, one in zip(together, alone, strict=True):
        assert said.experiment == one.experiment
        assert [s.ids for s in (*said.base, *said.changed)] == [s.ids for s in (*one.base, *one.changed)]
        for mine, theirs in zip(said.changed[0].activations.values(), one.changed[0].activations.values(), strict=True):
            same(np.stack(mine), np.stack(theirs))
    tokens = list(small.stream(experiments, max_new_tokens=STEPS))
    for e, said in enumerate(together):
        for changed, spoken in ((False, said.base[0]), (True, said.changed[0])):
            ids = [token.id for token in tokens if (token.experiment, token.changed) == (e, changed)]
            assert tuple(ids) == spoken.ids
    first = [(token.experiment, token.changed) for token in tokens if not token.step]
    assert sorted(first) == [(0, False), (0, True), (1, False), (1, True)]


def test_several_experiments_that_are_stopped_are_all_there(small, monkeypatch):
    experiments = [Experiment(prompt) for prompt in PROMPTS[:2]]
    parts = small.generate(experiments, max_new_tokens=STEPS, cancel=lambda: True)
    assert [part.finished for part in parts] == [False, False]
    assert sum(len(part.base[0]) for part in parts) == 1

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(small._executor, "continue_", interrupted)
    with pytest.raises(nb.GenerationStopped) as stopped:
        small.generate(experiments, max_new_tokens=STEPS)
    assert [len(part.base[0]) for part in stopped.value.partial] == [len(part.base[0]) for part in parts]


def test_an_interrupt_keeps_what_was_said(small, monkeypatch):
    whole = small.generate(PROMPTS[0], max_new_tokens=STEPS)
    calls = []
    go_on = small._executor.continue_

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return go_on(*args)

    monkeypatch.setattr(small._executor, "continue_", interrupted)
    with pytest.raises(nb.GenerationStopped) as stopped:
        small.generate(PROMPTS[0], max_new_tokens=STEPS)
    assert stopped.value.partial.base[0].ids == whole.base[0].ids[:3]
    monkeypatch.undo()
    assert small.generate(PROMPTS[0], max_new_tokens=STEPS) == whole


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_new": 3}, TypeError, "got the setting 'max_new' of a generation; known are max_new_tokens, temperature"),
        ({"temperature": -1}, ValueError, "got temperature=-1 in a Generation; wanted a finite number from 0 up"),
        (
            {"max_new_tokens": 10**7},
            ValueError,
            "to be continued by 10000000; .* reads at most .*: lower max_new_tokens",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_the_model_runs(small, settings, error, message):
    with pytest.raises(error, match=message):
        small.generate(PROMPTS[0], **settings)


def test_the_frame_has_both_side_by_side(small):
    v = np.random.default_rng(0).normal(size=small.info.d_model) * 5
    said = small.generate(Experiment(PROMPTS[:2], Steer("resid_post.1", direction=v)), max_new_tokens=3)
    frame = said.frame()
    assert list(frame.columns) == ["prompt", "step", "base", "changed", "base_probability", "changed_probability"]
    assert len(frame) == 6
    assert frame["base"].tolist()[:3] == [small.vocabulary.tokens[i] for i in said.base[0].ids]
    expected = torch.tensor(small.run(PROMPTS[0]).logits[0]).softmax(-1).max()
    assert frame["base_probability"][0] == pytest.approx(float(expected), rel=1e-4)
    step = next((i for i in range(3) if said.base[0].ids[i] != said.changed[0].ids[i]), None)
    assert said.diverges() == step
    for text in (repr(said), said._repr_html_()):
        assert "Continuation on" in text
