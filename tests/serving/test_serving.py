"""A server of one's own: what it computes, what it refuses, what it opens, and that it leaves nothing behind."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch

from nbinterp.demo import models
from nbinterp.serving import machine
from tests.serving.fixtures import TINY
from tests.serving.running import Serving

PROMPT = "The capital of France is"


def client(name, folder):
    """Return nnsight's own model without weights, under the name by which a server knows it."""
    from nnsight import CONFIG
    from nnsight.modeling import huggingface
    from nnsight.modeling.transformers import TransformersModel

    CONFIG.APP.REMOTE_LOGGING = False
    model = TransformersModel(str(folder), task="text-generation", dispatch=False)
    model.repo_id = name
    huggingface._ID_CACHE[name] = name  # it would ask the hub how the name is spelled
    return model


def remote(name, folder, host):
    """Return the last logits of a prompt, computed by a server for nnsight's own remote trace."""
    model = client(name, folder)
    with model.trace(PROMPT, remote=host):
        last = model.lm_head.output[0, -1].clone().save()
    return last


def local(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return module(**AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")).logits[0, -1]


@pytest.mark.parametrize("name", ["smollm2-135m", TINY])
def test_a_bare_remote_trace_gives_what_the_model_gives_here(ndif, tiny, name):
    folder = models.directory(name) if name in models.DEMO_MODELS else tiny
    with ndif.entered():
        torch.testing.assert_close(remote(name, folder, ndif.url), local(folder), atol=1e-4, rtol=1e-4)


def test_it_prints_the_code_that_reaches_it(ndif):
    assert f'nb.Model.open("smollm2-135m", host="{ndif.url}")' in ndif.text
    assert f'nb.Model.open("{TINY}", host="{ndif.url}")' in ndif.text


def test_a_model_that_is_not_served_is_refused_and_not_fetched(ndif, tiny):
    from nnsight.intervention.backends.remote import RemoteError

    with ndif.entered(), pytest.raises(RemoteError, match=f"this server serves smollm2-135m, {TINY}"):
        remote("other/llama", tiny, ndif.url)


def test_code_that_needs_nbinterp_on_the_server_fails_as_on_any_other_server(ndif, tiny):
    from nnsight.intervention.backends.remote import RemoteError

    def ask(model):
        with model.trace(PROMPT, remote=ndif.url):
            import nbinterp

            answer = (model.lm_head.output[0, -1] * len(nbinterp.__version__)).save()
        return answer

    with ndif.entered(), pytest.raises(RemoteError, match="No module named 'nbinterp'"):
        ask(client(TINY, tiny))


def test_its_status_and_its_versions_can_be_asked_for(ndif):
    with ndif.entered():
        status, env = (json.load(urllib.request.urlopen(f"{ndif.url}/{what}")) for what in ("status", "env"))
    assert {(each["repo_id"], each["application_state"]) for each in status["deployments"].values()} >= {
        ("smollm2-135m", "RUNNING"),
        (TINY, "RUNNING"),
    }
    assert env["packages"]["nnsight"] == version("nnsight")


def test_every_port_is_on_loopback(ndif):
    started = psutil.Process(ndif.process.pid).children(recursive=True)
    with ndif.entered():
        listening = {
            connection.laddr.ip
            for process in [psutil.Process(ndif.process.pid), *started]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert listening


def test_what_it_writes_is_for_the_user_only(ndif):
    folder = Path(re.search(r"logs are in (\S+)/logs", ndif.text)[1])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for secret in ("token", "valkey.conf"):
        assert stat.S_IMODE((folder / secret).stat().st_mode) == 0o600
    for process in psutil.Process(ndif.process.pid).children(recursive=True):
        assert (folder / "token").read_text() not in " ".join(process.cmdline())
        assert re.search(r"requirepass (\w+)", (folder / "valkey.conf").read_text())[1] not in " ".join(
            process.cmdline()
        )


def test_its_parts_take_nobody_without_their_secrets(ndif):
    folder = Path(re.search(r"logs are in (\S+)/logs", ndif.text)[1])
    command_lines = [process.cmdline() for process in psutil.Process(ndif.process.pid).children(recursive=True)]
    (store,) = (line[line.index("--port") + 1] for line in command_lines if "nanio" in line)
    valkey = re.search(r"port (\d+)", (folder / "valkey.conf").read_text())[1]
    ray = re.search(r"--join \S+:(\d+)", ndif.text)[1]
    with ndif.entered():
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{store}/ndif-results?list-type=2")
        with socket.create_connection(("127.0.0.1", int(valkey))) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(100).startswith(b"-NOAUTH")
        assert not ray_answers(ray)
        assert ray_answers(ray, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(folder / "token"))


def ray_answers(port, **settings):
    code = f"from ray._raylet import GcsClient; GcsClient(address='127.0.0.1:{port}').get_all_node_info()"
    return subprocess.run([sys.executable, "-c", code], env=os.environ | settings, capture_output=True).returncode == 0


@pytest.mark.slow
def test_a_machine_joins_and_leaves_while_answers_go_on(ndif, tiny, tmp_path):
    address, token = re.search(r"copy of (\S+): nbinterp serve --join (\S+)", ndif.text).group(2, 1)
    second = Serving.start(tmp_path / "log", 0, "--join", address, "--token", token, f"{TINY}={tiny}", beside=ndif)
    try:
        second.wait_for("This machine serves 1 more of")
        with ndif.entered():
            before = remote(TINY, tiny, ndif.url)
    finally:
        code = second.end(signal.SIGTERM)
    assert code == 0
    with ndif.entered():
        torch.testing.assert_close(remote(TINY, tiny, ndif.url), before)


@pytest.mark.slow
@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_it_started_and_nothing_else(tmp_path, tiny, number):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    serving = Serving.start(tmp_path / "log", *machine.free_ports("127.0.0.1", 1), f"{TINY}={tiny}")
    try:
        serving.wait_for("logs are in")
        folder = Path(re.search(r"logs are in (\S+)/logs", serving.text)[1])
        while not (started := psutil.Process(serving.process.pid).children(recursive=True)) or not any(
            "raylet" in process.name() for process in started
        ):
            assert serving.process.poll() is None, serving.text
        assert serving.end(number) == 0
        assert serving.text.endswith("nbinterp: stopped; all that it started has ended.\n")
        _, left = psutil.wait_procs(started, timeout=5)
        assert left == []
        assert not [
            process for process in psutil.process_iter(["cmdline"]) if folder.name in str(process.info["cmdline"])
        ]
        assert not folder.exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        if serving.process.poll() is None:
            serving.process.terminate()
            serving.process.wait(60)
