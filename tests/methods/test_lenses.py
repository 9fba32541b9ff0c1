"""The logit lens against plain torch with hooks, and against TransformerLens."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.pieces import piece_of
from nbinterp.sites import Site
from tests.conftest import random_module
from tests.engine.oracle import hooked, same

PROMPT = "The capital of France is Paris"


def stream(model, component="resid_post"):
    sites = [Site(component, n) for n in range(model.info.n_layers)]
    return sites if component == "resid_pre" else [Site("resid_pre", 0), *sites]


def log_probabilities(model, states):
    """By the model's own modules, one state after the other, in float64."""
    module = model.nnsight._module
    *before, head = (module.get_submodule(path) for path in model.readout.paths)
    x = torch.tensor(np.stack(states))
    with torch.no_grad():
        for part in before:
            x = part(x)
        logits = head(x).double()
        if cap := getattr(module.config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
    return logits.numpy(), logits.log_softmax(-1).numpy()


def test_every_layer_and_token_untouched_and_changed(small):
    layers, token = small.info.n_layers, 10_000
    acts = [nb.Scale("mlp_out.1", factor=3.0, tokens=2), nb.Ablate("attn_out.2", tokens=-1)]
    lens = nb.logit_lens(small, nb.Experiment(PROMPT, acts), track=token, top=3)
    n = len(small.tokens(PROMPT))
    edits = [("mlp_out.1", [2], lambda x: 3 * x), ("attn_out.2", [n - 1], lambda x: 0 * x)]
    assert lens.data["layer"].to_numpy().tolist() == list(range(-1, layers))
    assert lens.runs == ("base", "changed")
    for run, changes in (("base", []), ("changed", edits)):
        _, seen = hooked(small, PROMPT, changes, stream(small))
        logits, log_p = log_probabilities(small, [seen[site] for site in stream(small)])
        one, p = lens.data.sel(run=run), np.exp(log_p)
        same(one["top_probability"].to_numpy(), -np.sort(-p, axis=-1)[..., :3])
        same(one["logit"].to_numpy()[0], logits[..., token])
        same(one["log_probability"].to_numpy()[0], log_p[..., token])
        assert np.abs(one["entropy"].to_numpy() + (p * log_p).sum(-1)).max() < 2e-3
        kl = (p[-1] * (log_p[-1] - log_p)).sum(-1)
        assert np.abs(one["kl"].to_numpy() - kl).max() < 2e-3 * max(1, kl.max())
        assert np.abs(one["rank"].to_numpy()[0] - (logits > logits[..., [token]]).sum(-1)).max() <= 3
    # nothing changes before what acts first
    difference = lens.difference()
    assert not difference["logit"].sel(layer=slice(-1, 0)).any()
    assert not difference["logit"].sel(token=slice(0, 1)).any()
    assert difference["logit"].sel(layer=layers - 1, token=n - 1).all()


def test_at_the_end_it_is_the_model_itself(small):
    lens = nb.logit_lens(small, PROMPT, tokens="last")
    (p,) = small.run(PROMPT).probabilities
    same(lens.data["top_probability"].to_numpy()[0, -1, 0], -np.sort(-p)[:5])
    assert lens.data["kl"].to_numpy()[0, -1].max() < 1e-5


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


@pytest.mark.parametrize("component", ["resid_pre", "resid_mid", "resid_post"])
def test_each_state_of_the_stream_can_be_read_and_some_of_them(llama, component):
    lens = nb.logit_lens(llama, PROMPT, sites=component)
    sites = list(map(str, stream(llama, component)))
    assert lens.data["site"].to_numpy().tolist() == sites
    some = nb.logit_lens(llama, PROMPT, sites=sites[2:0:-1], tokens=[1, -1])
    assert some.data["site"].to_numpy().tolist() == sites[1:3]
    same(some.data["kl"].to_numpy(), lens.data["kl"].to_numpy()[:, 1:3][:, :, [1, -1]])


def test_frames_have_a_line_a_cell_in_one_order(llama):
    lens = nb.logit_lens(llama, nb.Experiment(PROMPT, nb.Ablate("attn_out.1")), track=[5, " Paris"], tokens=[1, 3])
    frame, tracked = lens.frame(), lens.tracked()
    assert len(frame) == 2 * 5 * 2
    assert len(tracked) == 2 * len(frame)
    line = frame.query("run == 'changed' and layer == 2 and position == 3").iloc[0]
    cell = lens.data.sel(run="changed", layer=2, token=3)
    assert line["token"] == llama.tokens(PROMPT).tokens[3]
    assert line["top"] == llama.vocabulary.tokens[int(cell["top"][0])]
    assert (line["probability"], line["kl"]) == (float(cell["top_probability"][0]), float(cell["kl"]))
    line = tracked.query("run == 'changed' and layer == 2 and position == 3 and tracked == ' Paris'").iloc[0]
    assert line["rank"] == int(cell["rank"].sel(tracked=" Paris"))
    layers = lens.by_layer().query("run == 'base'")
    assert layers["agreement"].iloc[-1] == 1
    assert layers["kl"].iloc[1] == pytest.approx(float(lens.data["kl"].sel(run="base", layer=0).mean()))


def test_a_text_of_several_tokens_is_followed_by_its_first_which_is_said(llama):
    piece = piece_of(llama, " Massachusettsian")
    assert piece.text == " Massachusetts"
    assert "is 2 tokens here (' Massachusetts' 'ian'), of which the first is followed" in piece.note
    assert piece.note in repr(nb.logit_lens(llama, PROMPT, track=" Massachusettsian"))


@pytest.mark.parametrize(
    ("prompt", "settings", "error", "message"),
    [
        (nb.Experiment([PROMPT, "Two"]), {}, ValueError, "got 2 prompts; wanted one"),
        (PROMPT, {"sites": "mlp_out"}, ValueError, "what a single layer adds is no state of the stream"),
        (PROMPT, {"sites": "attn_out.2"}, ValueError, "nb.logit_attribution says what each layer adds"),
        (PROMPT, {"sites": ["resid_mid.1", "resid_post.2"]}, ValueError, "together to read through a lens"),
        (PROMPT, {"sites": []}, ValueError, "got no site"),
        (PROMPT, {"sites": "resid_post.9"}, ValueError, "has 4 layers"),
        (PROMPT, {"track": ""}, LookupError, "got an empty text as a token"),
        (PROMPT, {"track": 10**6}, LookupError, "got the token id 1000000"),
        (PROMPT, {"track": [1.5]}, TypeError, "got a token of type float"),
        (PROMPT, {"top": 0}, ValueError, "got top=0"),
        (PROMPT, {"tokens": 99}, IndexError, "got token index 99"),
        (nb.Experiment(PROMPT, nb.Scale("logits", factor=2)), {}, ValueError, "behind the last block"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_model_runs(llama, monkeypatch, prompt, settings, error, message):
    monkeypatch.setattr(nb.Model, "run", lambda *args, **kwargs: pytest.fail("the model ran"))
    with pytest.raises(error, match=message):
        nb.logit_lens(llama, prompt, **settings)


def test_an_untouched_run_has_no_difference(llama):
    lens = nb.logit_lens(llama, PROMPT)
    with pytest.raises(ValueError, match="untouched run"):
        lens.difference()
    with pytest.raises(ValueError, match="got run='difference'"):
        lens.chart(run="difference")
    with pytest.raises(LookupError, match="got color='x'"):
        lens.chart("x")


def test_numbers_are_read_only(llama):
    lens = nb.logit_lens(llama, PROMPT, track=5)
    for name in lens.data.data_vars:
        assert not lens.data[name].to_numpy().flags.writeable, name


def test_the_chart_shows_each_cell_with_its_word(llama):
    lens = nb.logit_lens(llama, nb.Experiment(PROMPT, nb.Ablate("attn_out.1")), track=" Paris")
    drawn = lens.chart().to_dict()
    cells, words = drawn["layer"]
    rows = drawn["datasets"][drawn["data"]["name"]]
    assert cells["mark"]["type"] == "rect"
    assert len(rows) == 5 * len(lens.prompt)
    assert {row["row"] for row in rows} == {"embed", "0", "1", "2", "3"}
    assert words["mark"]["type"] == "text"
    changed = lens.frame().query("run == 'changed'")
    assert [row["value"] for row in rows] == pytest.approx(changed["probability"].tolist())
    difference = lens.chart(" Paris", run="difference", tokens=[1]).to_dict()
    wanted = lens.difference()["probability"].sel(tracked=" Paris", token=1).to_numpy()
    assert [row["value"] for row in difference["datasets"][difference["data"]["name"]]] == pytest.approx(
        wanted.tolist()
    )
    low, middle, high = difference["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert (low, middle) == (-high, 0)


def test_a_grid_that_no_page_can_draw_is_refused(llama, monkeypatch):
    monkeypatch.setattr("nbinterp.charts.lenses.MAX_ROWS", 300)
    lens = nb.logit_lens(llama, " word" * 61)
    with pytest.raises(ValueError, match=r"got 305 cells to draw; a chart holds at most 300: choose up to 60 tokens"):
        lens.chart()
    drawn = lens.chart(tokens=slice(-60, None)).to_dict()
    assert len(drawn["datasets"][drawn["data"]["name"]]) == 300
    # so many words would not be read
    assert len(drawn["layer"]) == 1


def test_markup_in_a_token_stays_text(llama):
    told = nb.logit_lens(llama, "<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in told


def test_the_demo_model_says_paris_from_the_last_layers_on(model):
    lens = nb.logit_lens(model, "The capital of France is", track=" Paris")
    end = lens.data.isel(run=0, tracked=0, token=-1)
    assert float(end["probability"][-1]) == pytest.approx(0.77, abs=0.01)
    assert (end["rank"].to_numpy()[:-3] > 0).all()
    assert "says ' Paris'" in repr(lens)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_it_is_transformer_lens_own(family, tokenizer, tmp_path):
    peer = pytest.importorskip("tests.engine.test_transformer_lens")
    module = random_module(family)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    with pytest.warns(DeprecationWarning, match="HookedTransformer is deprecated"):
        oracle = peer.oracle_of(module, str(tmp_path))
    model = nb.Model.open(module, tokenizer=tokenizer, name=family, device="cpu")
    lens = nb.logit_lens(model, PROMPT, track=[5, 9])
    attribution = nb.logit_attribution(model, PROMPT, (5, 9), tokens=[2, -1])
    with torch.no_grad():
        _, cache = oracle.run_with_cache(torch.tensor([model.tokens(PROMPT).ids]))
        states = cache.accumulated_resid(incl_mid=False)
        logits = oracle.unembed(oracle.ln_final(states[:, 0])).numpy()
        same(lens.data["logit"].to_numpy()[0], np.moveaxis(logits[..., [5, 9]], -1, 0))
        # what is written, behind the final norm's frozen scale; its own weights are not folded into the unembedding
        heads, head_names = cache.stack_head_results(return_labels=True)
        mlps, mlp_names = cache.decompose_resid(mode="mlp", incl_embeds=False, return_labels=True)
        along = (oracle.W_U[:, 5] - oracle.W_U[:, 9]) * oracle.ln_final.w
        for parts, labels, ours in (
            (heads, head_names, lambda n: n),
            (mlps, mlp_names, lambda n: f"MLP {int(n[:-8])}"),
        ):
            scaled = cache.apply_ln_to_stack(parts, layer=-1)[:, 0]
            for label, values in zip(labels, scaled @ along, strict=True):
                got = attribution.parts.sel(run="base", part=ours(label)).to_numpy()
                same(got, values[[2, -1]].numpy())
