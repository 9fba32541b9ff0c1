import os
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from safetensors.torch import save_file

import nbinterp as nb
from nbinterp.demo import models

from .conftest import random_module

PROMPTS = ["She was born in March", "It all began in July", "Prices went up in May", "The capital of France is", "Yes"]
COLUMNS = ["text", "prompt", "token", "position"]


def test_the_demo_model_knows_a_capital(model):
    result = model.run("The capital of France is")
    assert result.said() == (" Paris",)
    assert result.top(1)["changed"][0] == pytest.approx(0.77, abs=0.02)
    assert (model.info.n_layers, model.info.d_model, model.info.n_vocab) == (30, 576, 49152)
    assert model.info.revision == models.revision("smollm2-135m")
    assert repr(model) == "Model('smollm2-135m': LlamaForCausalLM, 30 layers, d_model 576, 49,152 tokens)"


def test_a_directory_and_a_module_are_the_same_model(model):
    folder = models.directory("smollm2-135m")
    again = nb.Model.open(folder, device="cpu")
    module = nb.Model.open(again.nnsight._module, tokenizer=again._tokenizer.own, name="mine")
    base = model.run("The capital of France is").logits
    for other in (again, module):
        np.testing.assert_array_equal(other.run("The capital of France is").logits, base)
    assert module.info.name == "mine"
    assert module.info.revision == again.info.revision != model.info.revision
    assert module.info.source == ""


def test_tokens_are_what_the_model_sees(model):
    prompt = model.tokens("It's   a na\u00efve\n\u65e5\u672c test \U0001f642!")
    assert len(prompt) == len(prompt.ids) == len(prompt.tokens) == len(prompt.spans)
    assert prompt.tokens[:2] == ("It", "'s")
    assert model._tokenizer.own.decode(prompt.ids) == prompt.text
    assert [a for a, _ in prompt.spans] == sorted(a for a, _ in prompt.spans)


def test_every_token_has_a_text_and_an_id(model):
    assert model.vocabulary.id(" March") == model.tokens(" March").ids[0]
    with pytest.raises(LookupError) as caught:
        model.vocabulary.id("Septembre")
    assert (
        caught.value.args[0]
        == "got 'Septembre', which is not a single token of this model; model.tokens('Septembre') shows its tokens."
    )
    with pytest.raises(LookupError, match="did you mean ' ecosystems', with a leading space"):
        model.vocabulary.id("ecosystems")


@pytest.mark.parametrize(
    ("source", "kwargs", "error", "message"),
    [
        (
            "smollm3",
            {},
            LookupError,
            "got 'smollm3', which is neither a demo model (smollm2-135m) nor a directory, a GGUF file or a hub id 'owner/name' that could be opened.",
        ),
        (
            "smollm2-135m",
            {"tokenizer": "x"},
            ValueError,
            "got a tokenizer beside the model 'smollm2-135m', which brings its own; leave tokenizer out, or pass a module.",
        ),
        (
            "nobody/nothing",
            {"memory_bound": 0},
            ValueError,
            "got memory_bound=0; wanted a positive number of bytes, for example 2**30.",
        ),
        (torch.nn.Linear(2, 2), {}, ValueError, "got a Linear without its tokenizer; give it with tokenizer=."),
        (
            torch.nn.Linear(2, 2),
            {"tokenizer": "x"},
            ValueError,
            "got a model of class Linear with its blocks at none of model.layers, transformer.h, gpt_neox.layers, model.decoder.layers; nbinterp knows decoder-only language models of transformers' Llama, GPT-2, GPT-NeoX, Gemma, Qwen, Mistral, Phi, OPT and Falcon families: open one of those.",
        ),
    ],
)
def test_what_cannot_be_opened(source, kwargs, error, message):
    with pytest.raises(error) as caught:
        nb.Model.open(source, **kwargs)
    assert caught.value.args[0] == message


def test_a_model_that_is_not_here_says_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("NBINTERP_CACHE", str(tmp_path))
    with pytest.raises(LookupError) as caught:
        nb.Model.open("smollm2-135m")
    assert (
        caught.value.args[0]
        == "got the demo model 'smollm2-135m', which is not on this machine yet; run: nbinterp fetch smollm2-135m"
    )


def test_a_hub_id_that_cannot_be_had_is_one_sentence():
    with pytest.raises(
        ValueError,
        match=r"^got 'nobody/nothing', which could not be opened as a causal language model with safetensors or GGUF weights: ",
    ):
        nb.Model.open("nobody/nothing")


def test_pickled_weights_are_not_opened(tokenizer, tmp_path):
    module = random_module("llama")
    module.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match="with 0 GGUF and no safetensors files; wanted a model saved as safetensors"
    ) as caught:
        nb.Model.open(tmp_path)
    assert "nbinterp does not open pickled weights" in str(caught.value)


def test_code_that_comes_with_a_model_does_not_run(tokenizer, tmp_path):
    module = random_module("llama")
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    marker = tmp_path / "it-ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    config = tmp_path / "config.json"
    text = config.read_text().replace(
        '"model_type": "llama"',
        '"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}',
    )
    config.write_text(text)
    with pytest.raises(ValueError, match="could not be opened"):
        nb.Model.open(tmp_path)
    assert not marker.exists()


def test_a_block_that_hands_on_something_else_is_noticed(tokenizer):
    module = random_module("gpt2")
    module.transformer.h[1].register_forward_hook(lambda block, args, output: output + 1)
    module.transformer.h[2].register_forward_pre_hook(lambda block, args: (args[0] * 2, *args[1:]))
    with pytest.raises(ValueError, match="in which block 1 does not hand its output to block 2 as it is"):
        nb.Model.open(module, tokenizer=tokenizer)


def test_sites_of_different_widths_are_collected_together(small, tmp_path):
    path = f"{small.info.blocks}.1"
    sites = ["resid_post.0", "z.1", "z.1.2", "mlp_post.2", "k.0", "logits", path]
    in_memory = small.collect(PROMPTS, sites=sites, tokens="all", progress=False)
    on_disk = small.collect(PROMPTS, sites=sites, tokens="all", progress=False, store=tmp_path / "cloud")
    again = on_disk.save(tmp_path / "copy")
    results = [small.run(nb.Experiment(prompt, read=sites)) for prompt in PROMPTS]
    for site in sites:
        wanted = np.concatenate([r.read(site).reshape(len(r.prompts[0]), -1) for r in results])
        for cloud in (in_memory, on_disk, again):
            np.testing.assert_allclose(cloud[site].points, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert " or " in repr(in_memory)


def test_a_component_without_a_layer_is_read_at_all_of_them(small):
    cloud = small.collect(PROMPTS, sites=["resid_post", "z.1", "resid_post.0"], progress=False)
    assert [str(site) for site in cloud.sites] == [*(f"resid_post.{layer}" for layer in range(4)), "z.1"]


def test_a_pattern_has_no_cloud(small):
    if "pattern" in small.info.anatomy.places:
        with pytest.raises(ValueError, match="got 'pattern.0' to collect, whose features are the keys of one prompt"):
            small.collect(PROMPTS, sites="pattern.0")


def test_a_prompt_beyond_the_context_is_refused(small):
    with pytest.raises(ValueError, match=r"^got a prompt of \d+ tokens; .* reads at most \d+: shorten it\.$"):
        small.tokens("word " * 140_000)


@pytest.mark.parametrize("tokens", ["last", "all", slice(0, 1)])
def test_a_cloud_is_what_runs_read(small, tokens):
    sites = ["resid_post.0", "resid_post.2"]
    labels = pd.DataFrame({"kind": list("abcde"), "number": range(5)}, index=list("vwxyz"))
    cloud = small.collect(PROMPTS, sites=sites, tokens=tokens, labels=labels, progress=False)
    results = [small.run(nb.Experiment(p, read=sites)) for p in PROMPTS]
    table = cloud.table
    assert list(table.columns) == [*COLUMNS, "kind", "number"]
    for site in sites:
        points = cloud[site].points
        for row, (prompt, position) in enumerate(zip(table["prompt"], table["position"], strict=True)):
            expected = results[prompt].activations[nb.Site.of(site)][0][position]
            np.testing.assert_allclose(points[row], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert table["text"].tolist() == [PROMPTS[i] for i in table["prompt"]]
    assert table["kind"].tolist() == ["abcde"[i] for i in table["prompt"]]
    assert table["prompt"].is_monotonic_increasing
    if tokens == "all":
        assert len(cloud) == sum(len(small.tokens(p)) for p in PROMPTS)


def stack(model):
    """Interventions of many kinds, which change, and take from, what is read early and late."""
    v = np.random.default_rng(0).normal(size=model.info.d_model)
    inner = nb.Experiment(PROMPTS[1], nb.Steer("resid_post.0", direction=v, tokens=1))
    acts = [
        nb.Ablate("resid_post.2", tokens=-1, amount=0.5),
        nb.Steer("resid_post.0", direction=v, scale=2.0, tokens=-1),
        nb.Ablate("z.1.2"),
        nb.Patch("mlp_out.1", source=PROMPTS[0], tokens=-1, source_tokens=2),
        nb.Patch("attn_out.2", source=inner, tokens=0, source_tokens=-1, amount=0.7),
        nb.Ablate("attn_out.1", mean=PROMPTS, tokens=-1),
        nb.Ablate("mlp_out.2", resample=PROMPTS, seed=3),
        nb.Scale("pattern.2.1", 0.5),
        nb.Ablate("resid_post.1", enabled=False),
        nb.Ablate("mlp_out.3"),
        nb.Scale("logits", 2.0),
    ]
    return [act for act in acts if act.site.component in model.info.anatomy.places]


def test_a_cloud_under_interventions_is_what_changed_runs_read(small):
    acts, sites = stack(small), ["resid_post.0", "resid_post.2", "z.1", "z.1.3", "v.2", "mlp_out.2", "resid_pre.1"]
    cloud = small.collect(PROMPTS, sites=sites, tokens="all", interventions=acts, progress=False)
    untouched = small.collect(PROMPTS, sites=sites, tokens="all", progress=False)
    results = small.run([nb.Experiment(p, acts, read=sites) for p in PROMPTS])
    for site in cloud.sites:
        expected = np.concatenate([r.activations[site][0].reshape(len(r.activations[site][0]), -1) for r in results])
        np.testing.assert_allclose(cloud[site].points, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.abs(cloud["resid_post.2"].points - untouched["resid_post.2"].points).max() > 1e-2
    np.testing.assert_allclose(cloud["resid_pre.1"].points, cloud["resid_post.0"].points, rtol=1e-5)
    pd.testing.assert_frame_equal(cloud.table, untouched.table)
    assert cloud.interventions == tuple(act.bound(small.info) for act in acts if act.enabled)
    assert untouched.interventions == ()


def test_nothing_after_the_last_site_is_computed_under_interventions_either(small, monkeypatch):
    ran = []
    for layer in range(4):
        path = small.info.event(nb.Site("mlp_post", layer))[0]
        module = small.nnsight._module.get_submodule(path)
        monkeypatch.setattr(module, "forward", lambda *a, n=layer, f=module.forward, **k: ran.append(n) or f(*a, **k))
    acts = [nb.Ablate("resid_post.0", tokens=-1), nb.Ablate("resid_post.3", tokens=-1)]
    small.collect(PROMPTS[:1], sites="resid_post.1", interventions=acts, progress=False)
    assert ran == [0, 1]


def test_what_is_taken_from_another_run_is_run_once(small, monkeypatch):
    read, asked = small._executor.read, []
    monkeypatch.setattr(small._executor, "read", lambda prompts, *rest: asked.extend(prompts) or read(prompts, *rest))
    act = nb.Patch("resid_post.0", source="It is so", tokens=-1, source_tokens=-1)
    small.collect(PROMPTS, sites="resid_post.1", interventions=act, progress=False)
    assert len(asked) == len(PROMPTS) + 1


def test_a_collection_goes_on_only_under_the_same_interventions(small, tmp_path):
    store, act = tmp_path / "cloud.zarr", nb.Ablate("resid_post.0", tokens=-1)
    arguments = {"sites": "resid_post.1", "store": store, "progress": False}
    with pytest.raises(nb.CollectionStopped) as stopped:
        small.collect(PROMPTS, interventions=act, cancel=lambda: True, **arguments)
    assert stopped.value.partial.interventions == (act,)
    for others in ((), nb.Ablate("resid_post.0", tokens=-1, amount=0.5)):
        with pytest.raises(
            ValueError, match=r"\(other prompts, sites, tokens, interventions or another model\): choose another folder"
        ):
            small.collect(PROMPTS, interventions=others, **arguments)
    # what is disabled does nothing, and so is no other request
    cloud = small.collect(PROMPTS, interventions=[act, nb.Ablate("resid_post.0", enabled=False)], **arguments)
    assert cloud.interventions == nb.Cloud.open(store).interventions == (act,)
    again = small.collect(PROMPTS, sites="resid_post.1", interventions=act, progress=False)
    np.testing.assert_array_equal(cloud.points, again.points)


def test_a_collection_can_be_taken_batch_by_batch(small):
    act = nb.Ablate("resid_post.0", tokens=-1)
    collection = small.collecting(PROMPTS, sites="resid_post.1", tokens="all", interventions=act)
    whole = small.collect(PROMPTS, sites="resid_post.1", tokens="all", interventions=act, progress=False)
    assert (collection.done, collection.total) == (0, len(whole))
    first = next(iter(collection))
    assert 0 < first == collection.done == len(collection.partial()) < collection.total
    with pytest.raises(ValueError, match="rows so far: collect the rest"):
        collection.cloud()
    rest = list(collection)
    assert sum(rest) == collection.total - first
    assert len(rest) > 1
    np.testing.assert_array_equal(collection.cloud().points, whole.points)


def test_tokens_that_a_function_chooses_cannot_be_kept_in_a_store(small, tmp_path):
    act = nb.Ablate("resid_post.0", tokens=lambda tokens: [len(tokens) - 1])
    arguments = {"sites": "resid_post.1", "progress": False}
    cloud = small.collect(PROMPTS, interventions=act, **arguments)
    plain = small.collect(PROMPTS, interventions=nb.Ablate("resid_post.0", tokens=-1), **arguments)
    np.testing.assert_array_equal(cloud.points, plain.points)
    with pytest.raises(TypeError, match="function"):
        small.collect(PROMPTS, interventions=act, store=tmp_path / "cloud.zarr", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_collection_that_is_cancelled_goes_on_where_it_was(small, tmp_path, monkeypatch):
    store = tmp_path / "cloud.zarr"
    reads = []
    read = small._executor.read
    monkeypatch.setattr(
        small._executor, "read", lambda prompts, *rest: reads.append(len(prompts)) or read(prompts, *rest)
    )
    asked = iter([False, False, True])
    with pytest.raises(
        nb.CollectionStopped, match=r"^stopped after \d of 5 rows, .*call collect again with the same store to go on\.$"
    ) as caught:
        small.collect(PROMPTS, sites="resid_post.1", store=store, progress=False, cancel=lambda: next(asked))
    done = sum(reads)
    assert len(caught.value.partial) == done > 0
    cloud = small.collect(PROMPTS, sites="resid_post.1", store=store, progress=False)
    assert sum(reads) == len(PROMPTS), "nothing was read twice"
    np.testing.assert_array_equal(cloud.points, small.collect(PROMPTS, sites="resid_post.1", progress=False).points)


def test_an_interrupt_keeps_what_was_collected(small, monkeypatch):
    read = small._executor.read
    calls = []

    def interrupted(*asked):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(*asked)

    monkeypatch.setattr(small._executor, "read", interrupted)
    with pytest.raises(KeyboardInterrupt, match="give store= to be able to go on") as caught:
        small.collect(PROMPTS, sites="resid_post.1", progress=False)
    assert len(caught.value.partial) >= 1


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"prompts": []}, ValueError, "got prompts=[]; wanted a list of at least one text."),
        ({"prompts": "a text"}, ValueError, "got prompts='a text'; wanted a list of at least one text."),
        ({"prompts": [""]}, ValueError, "got an empty text as the prompt; wanted text with at least one token."),
        ({"sites": []}, ValueError, "got no site to read; wanted at least one, for example sites=['resid_post.10']."),
        ({"sites": "resid_post.4"}, ValueError, "got layer 4 in 'resid_post.4'; {name} has 4 layers: choose 0 to 3."),
        (
            {"labels": pd.DataFrame({"a": [1]})},
            ValueError,
            "got labels with 1 lines for 5 prompts; wanted one line a prompt, in the same order.",
        ),
        (
            {"labels": pd.DataFrame({"token": list("abcde")})},
            ValueError,
            "got labels with the columns ['token'], which every cloud has itself; rename them.",
        ),
        (
            {"interventions": nb.Ablate("resid_post.9")},
            ValueError,
            "got layer 9 in 'resid_post.9'; {name} has 4 layers: choose 0 to 3.",
        ),
        (
            {"interventions": "Ablate"},
            TypeError,
            "got an intervention of type str; wanted for example nb.Steer(…).",
        ),
        (
            {"interventions": nb.Ablate("resid_post.1", tokens=4)},
            LookupError,
            "got token index 4, but the prompt 'Yes' has 1 tokens: choose from -1 to 0 (0:'Yes').",
        ),
        (
            {"tokens": " March"},
            LookupError,
            "got tokens=' March', which does not occur in the prompt 'It all began in July': its tokens are 0:'It' 1:' all' 2:' began' 3:' in' 4:' July'.",
        ),
    ],
)
def test_what_cannot_be_collected_is_said_before_the_model_runs(small, monkeypatch, kwargs, error, message):
    monkeypatch.setattr(small._executor, "read", lambda *a: pytest.fail("the model ran"))
    arguments = {"prompts": PROMPTS, "sites": "resid_post.1"} | kwargs
    with pytest.raises(error) as caught:
        small.collect(**arguments)
    assert caught.value.args[0] == message.format(name=small.info.name)


def test_activations_that_are_not_finite_are_refused(tokenizer):
    module = random_module("llama")
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    broken = nb.Model.open(module, tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"NaN or infinite"):
        broken.collect(PROMPTS, sites="resid_post.1", progress=False)


def test_a_patch_with_the_wrong_number_of_tokens_is_refused(small):
    with pytest.raises(ValueError, match="^got") as caught:
        small.run(nb.Experiment("She was born in March", nb.Patch("resid_post.1", source="It is so", tokens="all")))
    assert caught.value.args[0] == (
        "got a Patch that takes 3 tokens of 'It is so' for 5 of 'She was born in March'; "
        "take as many or a single one: choose them with tokens= and source_tokens=."
    )


def test_safetensors_with_padding_rows_name_them(tokenizer, tmp_path):
    module = random_module("llama", vocab_size=49200)
    padded = nb.Model.open(module, tokenizer=tokenizer)
    assert padded.vocabulary.tokens[-1] == "<unused 49199>"
    assert len(padded.vocabulary) == 49200
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="could not be opened"):
        nb.Model.open(tmp_path)


THREADS = """
from nbinterp.engine.loading import _leave_a_core
import torch
from nbclient import NotebookClient

_leave_a_core()
print(torch.get_num_threads())
"""


@pytest.mark.slow
def test_in_a_notebook_a_core_is_left_to_the_page_and_in_a_script_none(monkeypatch):
    # what this run of the tests was told is not what a user's process is told
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    script = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(THREADS)])
    NotebookClient(notebook).execute()
    assert int(script.stdout) >= cores
    assert int(notebook.cells[0].outputs[0].text) == max(1, cores - 1)
