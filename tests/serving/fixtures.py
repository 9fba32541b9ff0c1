"""Fixtures for tests against a real server; a conftest takes them with ``from tests.serving.fixtures import *``."""

import pytest

from nbinterp.serving import machine
from nbinterp.serving.names import ServeError
from tests.conftest import random_module
from tests.serving.running import Serving

__all__ = ["extra", "ndif", "tiny"]

TINY = "tiny/llama"
"""The name that the tiny model is served under, as a hub could have it."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, tokenizer):
    """The folder of a tiny random model, saved by transformers."""
    folder = tmp_path_factory.mktemp("tiny")
    random_module("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def extra():
    """What a server needs; `make lowest` goes without."""
    try:
        machine.check_installed()
    except ServeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ndif(tmp_path_factory, extra, demo_name, tiny):
    """A server with the demo model and the tiny one; a client of it works in ``with ndif.entered():``."""
    (port,) = machine.free_ports("127.0.0.1", 1)
    serving = Serving.start(tmp_path_factory.mktemp("ndif") / "log", port, demo_name, f"{TINY}={tiny}")
    try:
        serving.wait_for("Ready")
        yield serving
    finally:
        serving.process.terminate()
        serving.process.wait(60)
