"""What cannot be served is refused in one sentence, before anything is started."""

import socket
import sys

import psutil
import pytest
import torch

from nbinterp import __main__ as cli
from nbinterp.serving import machine, names


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As if the extra were here: these tests start nothing."""
    monkeypatch.setattr(machine, "check_installed", lambda: None)
    monkeypatch.setattr(machine, "valkey", lambda: "valkey-server")


def refusal(capsys, *arguments):
    """Return the sentence with which a call is refused; nothing has been started then."""
    before = psutil.Process().children(recursive=True)
    assert cli.main(["serve", *map(str, arguments)]) == 1
    assert psutil.Process().children(recursive=True) == before
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nbinterp: got ")
    assert said.err.count("\n") == 1
    return said.err


def test_no_model(capsys):
    assert "nbinterp serve smollm2-135m" in refusal(capsys)


@pytest.mark.parametrize("name", ["gpt-5", "=", "./nowhere", "name=./nowhere", "a/b/c", "smollm2-135m "])
def test_an_unknown_model(capsys, name):
    assert "wanted" in refusal(capsys, name)


def test_a_model_of_the_hub_that_cannot_be_had(capsys):
    assert "hub cannot be reached" in refusal(capsys, "no-such-owner/no-such-model")


def test_a_demo_model_that_is_not_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NBINTERP_CACHE", str(tmp_path))
    assert "run: nbinterp fetch smollm2-135m" in refusal(capsys, "smollm2-135m")


def test_one_name_twice(capsys, tiny):
    assert "--replicas" in refusal(capsys, f"a={tiny}", f"a={tiny}")


def test_a_port_in_use(capsys, tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refusal(capsys, tiny, "--port", port)


@pytest.mark.parametrize("host", ["nowhere.example", "192.0.2.1", "::1"])
def test_an_address_that_is_not_this_machines(capsys, tiny, host):
    assert host in refusal(capsys, tiny, "--host", host)


def test_a_model_that_does_not_fit(capsys, tiny):
    assert "GiB free on its cpu" in refusal(capsys, tiny, "--replicas", 10**9, "--device", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys, tiny):
    assert "finds no GPU" in refusal(capsys, tiny, "--device", "cuda")


@pytest.mark.parametrize("replicas", ["0", "-1"])
def test_too_few_replicas(capsys, tiny, replicas):
    assert "wanted 1 or more" in refusal(capsys, tiny, "--replicas", replicas)


def test_no_time_at_all(capsys, tiny):
    assert "--timeout 0" in refusal(capsys, tiny, "--timeout", 0)


def test_joining_what_is_not_there(capsys, tmp_path):
    (tmp_path / "token").write_text("secret")
    (port,) = machine.free_ports("127.0.0.1", 1)
    assert "wanted HOST:PORT" in refusal(capsys, "--join", "somewhere")
    assert "--token" in refusal(capsys, "--join", f"127.0.0.1:{port}")
    assert "nothing answers" in refusal(capsys, "--join", f"127.0.0.1:{port}", "--token", tmp_path / "token")


def test_a_missing_package_is_named_with_what_to_run(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(machine, "_NEEDED", {"no_such_module": "no-such-package", "ndif_of_the_future": "ndif"})
    with pytest.raises(names.ServeError, match=r'no-such-package, ndif.*-m pip install "nbinterp\[serve\]"') as caught:
        machine.check_installed()
    assert ("--ignore-requires-python ndif==0.1.2" in str(caught.value)) == (sys.version_info < (3, 12))


def test_parameters_are_counted_without_reading_weights(tiny):
    from safetensors.numpy import load_file

    assert names.parameters(str(tiny)) == sum(tensor.size for tensor in load_file(tiny / "model.safetensors").values())


def test_keys_are_those_that_nnsight_sends(tiny):
    from nnsight.modeling import huggingface
    from nnsight.modeling.transformers import TransformersModel

    model = TransformersModel(str(tiny), task="text-generation", dispatch=False)
    huggingface._ID_CACHE[str(tiny)] = str(tiny)
    assert model.to_model_key() == names.model_key(str(tiny))
    service = names.Service({"a/b": str(tiny)}, "cpu", "float32", 1, 1)
    assert service.located(names.model_key("a/b")) == model.to_model_key()
    assert names.model_name(names.model_key("a/b")) == "a/b"
