"""A model so small that every answer takes milliseconds, and a playground of it."""

import pytest

import nbinterp as nb
from nbinterp.widgets.playground import Playground

from ...conftest import random_module
from .page import PROMPT
from .test_controls import DIRECTION


@pytest.fixture(scope="session")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture
def playground(toy):
    return Playground(toy, PROMPT, directions={"it": DIRECTION})
