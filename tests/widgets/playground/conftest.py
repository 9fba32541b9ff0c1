"""A model so small that every answer takes milliseconds."""

import pytest

import nbinterp as nb

from ...conftest import random_module


@pytest.fixture(scope="session")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")
