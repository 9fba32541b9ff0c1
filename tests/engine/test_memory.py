"""Out of memory in mid-run: what was asked for comes all the same, in smaller parts, and that is said."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from tests.conftest import random_module

PROMPT = "The red cat sat down"


@pytest.fixture
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


def holds(model, most, error):
    """Let the model's third block fail for more rows than so many; return how many rows it was given."""
    given = []

    def check(_, args, kwargs):
        rows = next(iter((*args, *kwargs.values()))).shape[0]
        given.append(rows)
        if rows > most:
            raise error

    model.nnsight._module.model.layers[2].register_forward_pre_hook(check, with_kwargs=True)
    return given


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_changed_rows_go_on_in_halves(llama, error):
    experiments = [nb.Experiment(PROMPT, nb.Scale("resid_post.0", factor, tokens=1)) for factor in range(2, 9)]
    wanted = [result.logits for result in llama.run(experiments)]
    given = holds(llama, 2, error)
    with pytest.warns(RuntimeWarning, match="out of memory with 7 rows at once, .*went on in halves: lower that bound"):
        found = [result.logits for result in llama.run(experiments)]
    assert max(given) == 7
    assert sum(rows for rows in given if rows <= 2) == 7
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_untouched_prompts_go_on_in_halves(llama):
    prompts = [f"The {color} cat sat down" for color in ("red", "old", "big")]
    wanted = llama.run(nb.Experiment(prompts)).logits
    llama.forget()
    holds(llama, 1, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.warns(RuntimeWarning, match="out of memory with 3 rows at once"):
        found = llama.run(nb.Experiment(prompts)).logits
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_single_row_that_does_not_fit_and_other_errors_are_raised(llama):
    experiment = nb.Experiment(PROMPT, nb.Ablate("resid_post.0", tokens=1))
    llama.run(PROMPT)
    holds(llama, 0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        llama.run(experiment)
    holds(llama, 0, RuntimeError("shapes do not fit"))
    llama.nnsight._module.model.layers[2]._forward_pre_hooks.popitem(last=False)
    # two rows, so that there would be halves to go on with
    experiments = [experiment, nb.Experiment(PROMPT, nb.Ablate("resid_post.0", tokens=2))]
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        llama.run(experiments)
