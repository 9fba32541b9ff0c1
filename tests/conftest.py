"""What every test may ask for: the demo model, opened once, and small random models of other families."""

import functools
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # workers share the cores: threads of each would wait for those of the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch

import nbinterp as nb
from nbinterp.anatomy import ModelInfo

# on a busy machine any example may take long
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def demo_name():
    from nbinterp.demo import models

    models.fetch("smollm2-135m")
    return "smollm2-135m"


@pytest.fixture(scope="session")
def model(demo_name):
    return nb.Model.open(demo_name, device="cpu")


ALL_TOKENS, FEW_TOKENS = 49_152, 16_384
"""The vocabularies of the demo model and of small ones, whose tests would wait for little but logits with all tokens."""


@functools.cache
def few_tokens():
    """The demo model's tokenizer with its first, most frequent tokens; rarer words come in several."""
    import tokenizers
    from transformers import AutoTokenizer

    from nbinterp.demo import models

    tokenizer = AutoTokenizer.from_pretrained(models.directory("smollm2-135m"))
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = {token: number for token, number in data["model"]["vocab"].items() if number < FEW_TOKENS}
    merges = [pair for pair in data["model"]["merges"] if "".join(pair) in vocabulary]
    data["model"] |= {"vocab": vocabulary, "merges": merges}
    return type(tokenizer)(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(data)),
        chat_template=tokenizer.chat_template,
        **tokenizer.special_tokens_map,
    )


@pytest.fixture(scope="session")
def tokenizer(demo_name):
    """The tokenizer of `random_module`."""
    return few_tokens()


_GROUPED = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_UNGROUPED = {name: size for name, size in _GROUPED.items() if name != "num_key_value_heads"}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}

FAMILIES = {
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", _GROUPED | {"sliding_window": 4}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 8}),
    "gemma": ("GemmaConfig", _GROUPED | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", _GROUPED | {"head_dim": 8, "sliding_window": 4}),
    "gemma3": (
        "Gemma3TextConfig",
        _GROUPED | {"head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
    ),
    "phi": ("PhiConfig", _GROUPED),
    "phi3": ("Phi3Config", _GROUPED),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 4, "n_head": 4}),
    "gpt_neox": ("GPTNeoXConfig", _UNGROUPED),
    "gpt_neox_sequential": ("GPTNeoXConfig", _UNGROUPED | {"use_parallel_residual": False}),
    "opt": (
        "OPTConfig",
        {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "word_embed_proj_dim": 32},
    ),
    "falcon_7b": ("FalconConfig", _FALCON | {"multi_query": True, "parallel_attn": True}),
    "falcon_40b": ("FalconConfig", _FALCON | {"num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon_rw": ("FalconConfig", _FALCON | {"multi_query": False, "parallel_attn": False, "alibi": True}),
}
"""Small models of each family, and of the ways in which a family's own models differ."""


def random_module(family, vocab_size=None):
    """Return a small random model of a family; large weights, so that its answers depend on what it is given.

    Its vocabulary is that of `few_tokens` where no size is given.
    """
    import transformers

    config_class, sizes = FAMILIES[family]
    config = getattr(transformers, config_class)(
        vocab_size=vocab_size or ALL_TOKENS, bos_token_id=1, eos_token_id=2, pad_token_id=2, **sizes
    )
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    if vocab_size is None:
        # cut afterwards: its other weights are the same with few tokens as with all of them
        module.resize_token_embeddings(FEW_TOKENS)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return module


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def small(request, tokenizer):
    """A small random model of each family."""
    return nb.Model.open(random_module(request.param), tokenizer=tokenizer, name=request.param, device="cpu")


@pytest.fixture
def info():
    """A model's card, for tests that need no model."""
    return ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=3, n_vocab=10, blocks="model.layers")


LONG = [
    "test_tutorials.py",
    "test_code.py",
    "engine/test_execute.py",
    "geometry/test_explore.py",
    "ui/test_leaks.py",
    "ui/test_playground.py",
    "ui/test_tutorial.py",
    "ui/test_widgets.py",
    "ui/test_atlas.py",
    "ui/test_lasting.py",
]
"""Files that take longest, begun first: all others would wait for a worker that comes to one of them at the end."""


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.relative_to(pathlib.Path(__file__).parent).as_posix()
        # Playwright keeps an event loop running on the main thread from its first test on: what tests without one comes before
        return item.get_closest_marker("ui") is not None, LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)
