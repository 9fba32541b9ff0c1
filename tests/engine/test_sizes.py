"""What is estimated against what torch really takes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from nbinterp import Ablate, Experiment
from nbinterp.engine.planning import make_plan


class Peak(TorchDispatchMode):
    """Counts the bytes of all storages that operations make while they live, and the most that lived at once."""

    def __init__(self, weights):
        super().__init__()
        self._weights = {parameter.untyped_storage().data_ptr() for parameter in weights}
        self._alive, self.now, self.most = WeakIdKeyDictionary(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self._weights:
                self._alive.setdefault(tensor.untyped_storage(), None)
        self.now = sum(storage.nbytes() for storage in list(self._alive))
        self.most = max(self.most, self.now)
        return result


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "at", "rows"), [(2, 0, 24), (2, -1, 24), (28, 0, 24)])
def test_the_estimate_of_a_batch_is_neither_too_low_nor_wild(model, layer, at, rows):
    prompt = " ".join(["word"] * 40)
    experiments = [
        Experiment(prompt, Ablate(f"attn_out.{layer}", tokens=at, mean=[float(i)] * 576)) for i in range(rows)
    ]
    model.run(prompt)
    plan = make_plan([e.on(model.info) for e in experiments], model.tokens, model._executor.sizes)
    (batch,) = plan.batches
    with Peak(model.nnsight._module.parameters()) as peak:
        model.run(experiments)
    estimate = plan.sizes.batch(batch)
    assert peak.most <= 1.1 * estimate
    assert estimate <= 6 * peak.most
