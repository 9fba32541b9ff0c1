"""Sites have the names and the values of TransformerLens, whose models are written anew and share no code with transformers'."""

import copy
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.sites import COMPONENTS, HEADED, UNLAYERED, Site
from tests.conftest import FAMILIES, random_module


def _leave_out_datasets():
    """Let TransformerLens be imported without `datasets`, from which it takes texts to train on, and its 200 MB of pyarrow."""
    if importlib.util.find_spec("datasets") is not None:
        return
    for name in ("datasets", "datasets.arrow_dataset", "datasets.iterable_dataset", "datasets.load"):
        module = sys.modules[name] = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.Dataset = module.DatasetDict = module.IterableDataset = module.load_dataset = object


_leave_out_datasets()
# version 4 no longer has models of its own
transformer_lens = pytest.importorskip(
    "transformer_lens", reason="the oracle transformer-lens<4 is not installed: `make pytest` installs it"
)

HOOKS = {
    "embed": "hook_embed",
    "resid_pre": "blocks.{}.hook_resid_pre",
    "q": "blocks.{}.attn.hook_q",
    "k": "blocks.{}.attn.hook_k",
    "v": "blocks.{}.attn.hook_v",
    "pattern": "blocks.{}.attn.hook_pattern",
    "z": "blocks.{}.attn.hook_z",
    "attn_out": "blocks.{}.hook_attn_out",
    "resid_mid": "blocks.{}.hook_resid_mid",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "resid_post": "blocks.{}.hook_resid_post",
}
TOLERANCE = 1e-4  # of the largest value
PROMPT = "The capital of France is Paris, and not Rome"


UNKNOWN = {"falcon_7b", "falcon_40b", "falcon_rw", "phi"}
"""Families that TransformerLens does not have; Phi it reads from transformers 4's configurations only."""

LIKE = {"gemma": "google/gemma-2b", "gemma2": "google/gemma-2-2b", "gemma3_text": "google/gemma-3-1b-pt"}
"""Families that it knows only by the names of their models; it looks nothing up for these."""


def oracle_of(module, folder):
    """Return TransformerLens' own model with a module's weights, nothing folded, centred or otherwise processed."""
    from transformer_lens import loading_from_pretrained as loading

    config = copy.deepcopy(module.config)
    config.architectures = [type(module).__name__]
    if config.model_type in LIKE:
        fields = loading.convert_hf_model_config(LIKE[config.model_type]) | {
            "d_model": config.hidden_size,
            "d_head": config.head_dim,
            "n_heads": config.num_attention_heads,
            "n_key_value_heads": config.num_key_value_heads,
            "n_layers": config.num_hidden_layers,
            "d_mlp": config.intermediate_size,
            "d_vocab": config.vocab_size,
            "rotary_dim": config.head_dim,
        }
    else:
        config.n_ctx = 64  # GPT-2's old name for what is now called max_position_embeddings
        config.save_pretrained(folder)
        fields = loading.convert_hf_model_config(folder)
    # what it knows of real models only, not of ours
    if config.model_type == "gemma":
        fields["act_fn"] = config.hidden_act
    if scalar := getattr(config, "query_pre_attn_scalar", None):
        fields["attn_scale"] = scalar**0.5
    if kinds := getattr(config, "layer_types", None):
        fields["attn_types"] = ["local" if kind == "sliding_attention" else "global" for kind in kinds]
        fields["window_size"] = config.sliding_window
    fields |= {
        "n_ctx": config.max_position_embeddings if config.model_type in ("gpt2", "opt") else 64,
        "original_architecture": type(module).__name__,
        "tokenizer_name": None,
        "device": "cpu",
        "dtype": torch.float32,
    }
    oracle = transformer_lens.HookedTransformer(transformer_lens.HookedTransformerConfig.from_dict(fields))
    oracle.load_and_process_state_dict(
        loading.get_pretrained_state_dict(folder, oracle.cfg, copy.deepcopy(module)),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    return oracle.eval()


@pytest.fixture(scope="module", params=sorted(set(FAMILIES) - UNKNOWN))
def pair(request, tokenizer, tmp_path_factory):
    """A small random model as nbinterp opens it, and the same weights in TransformerLens."""
    module = random_module(request.param)
    # biases and norms that start as zeros and ones would hide where they are applied
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    # a folder of neutral name: a family's name in the path is taken for the model's
    with pytest.warns(DeprecationWarning, match="HookedTransformer is deprecated"):
        oracle = oracle_of(module, str(tmp_path_factory.mktemp("oracle")))
    return nb.Model.open(module, tokenizer=tokenizer, name=request.param, device="cpu"), oracle


def ids(model, text=PROMPT):
    return torch.tensor([model.tokens(text).ids])


@torch.no_grad()
def activations(model, oracle):
    """Return TransformerLens' value of every site that both have, without the axis of prompts."""
    _, cache = oracle.run_with_cache(ids(model))
    sites = [
        Site(component, None if component in UNLAYERED else layer)
        for component in HOOKS
        for layer in ([0] if component in UNLAYERED else range(model.info.n_layers))
    ]
    named = {site: HOOKS[site.component].format(site.layer) for site in sites}
    return {site: cache[name][0].numpy() for site, name in named.items() if name in cache}


def lacks(model, site):
    try:
        model.info.check(site)
    except ValueError:
        return True
    return False


def test_every_component_is_compared():
    assert set(HOOKS) | {"logits"} == set(COMPONENTS)


def test_both_lack_the_same_sites(pair):
    model, oracle = pair
    known = set(activations(model, oracle))
    for component in HOOKS:
        if component not in UNLAYERED:
            site = Site(component, 1)
            assert lacks(model, site) == (site not in known), str(site)


@pytest.mark.parametrize("component", HOOKS)
def test_values(pair, component):
    model, oracle = pair
    wanted = {site: value for site, value in activations(model, oracle).items() if site.component == component}
    if not wanted:
        assert lacks(model, Site(component, 1))
        return
    result = model.run(nb.Experiment(PROMPT, read=list(wanted)))
    for site, value in wanted.items():
        (got,) = result.activations[site]
        assert got.shape == value.shape, str(site)
        np.testing.assert_allclose(got, value, atol=TOLERANCE * np.abs(value).max(), rtol=0, err_msg=str(site))


def test_one_head_is_that_head(pair):
    model, oracle = pair
    values = activations(model, oracle)
    heads = [Site(c, 2, model.info.heads(Site(c, 2)) - 1) for c in ("q", "k", "v", "z", "pattern")]
    result = model.run(nb.Experiment(PROMPT, read=heads))
    for site in heads:
        all_heads = values[Site(site.component, 2)]
        wanted = all_heads[site.head] if site.component == "pattern" else all_heads[:, site.head]
        (got,) = result.activations[site]
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, atol=TOLERANCE * np.abs(wanted).max(), rtol=0)


@torch.no_grad()
def test_logits(pair):
    model, oracle = pair
    assert_same_logits(model.run(PROMPT).logits, oracle(ids(model)))


@pytest.mark.parametrize("component", sorted(HEADED - {"pattern"}))
@torch.no_grad()
def test_ablating_a_head(pair, component):
    model, oracle = pair
    head = model.info.heads(Site(component, 1)) - 1

    def ablate(value, hook):
        value[:, :, head] = 0.0
        return value

    wanted = oracle.run_with_hooks(ids(model), fwd_hooks=[(HOOKS[component].format(1), ablate)])
    result = model.run(nb.Experiment(PROMPT, nb.Ablate(Site(component, 1, head))))
    assert_effect(result)
    assert_same_logits(result.logits, wanted)


@pytest.mark.parametrize("component", ["resid_pre", "attn_out", "mlp_out", "mlp_post", "resid_post"])
@torch.no_grad()
def test_patching_a_token(pair, component):
    """The value of another prompt at one token, layer 2: what TransformerLens' own patching does."""
    model, oracle = pair
    other = "A king of Italy sleeps in Berlin, and so did he"
    name = HOOKS[component].format(2)
    _, cache = oracle.run_with_cache(ids(model, other))

    def patch(value, hook):
        value[:, -2] = cache[name][:, -2]
        return value

    wanted = oracle.run_with_hooks(ids(model), fwd_hooks=[(name, patch)])
    result = model.run(nb.Experiment(PROMPT, nb.Patch(f"{component}.2", source=other, tokens=-2)))
    assert_effect(result)
    assert_same_logits(result.logits, wanted)


def assert_same_logits(got, wanted):
    last = wanted[:, -1].numpy()
    np.testing.assert_allclose(got, last, atol=TOLERANCE * np.abs(last).max(), rtol=0)


def assert_effect(result):
    """What is compared must be far larger than the tolerance, or a change that was not made would pass."""
    effect = np.abs(result.logits - result.base_logits).max()
    assert effect > 5 * TOLERANCE * np.abs(result.base_logits).max()
