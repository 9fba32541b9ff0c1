"""Train affine translators from each layer's states to the last layer's, so that the readout says what the model will."""

from __future__ import annotations

# for the name of an exception: nothing is unpickled
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nbinterp.engine.live import MODEL_LOCK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from nbinterp.engine.readout import Readout

BATCH = 64
"""Tokens of a step."""

EVERY = 10
"""Steps between two looks at the held-out tokens."""

PATIENCE = 3
"""Looks without any layer getting better after which training stops."""

_GAIN = 1e-3
"""By how much, in nats a layer, a look must be better."""

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Tuned:
    """Translators x ↦ x + W x + b of each layer, and how training went.

    Parameters
    ----------
    weights, biases : array, ``[layer, d_model, d_model]`` and ``[layer, d_model]``
        W and b.
    steps : tuple of int, ``[look]``
        After which steps the held-out tokens were looked at.
    kl : array, ``[look, layer]``
        Mean KL(model ‖ layer) there, in nats.
    stopped : str
        Why training ended.
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    steps: tuple[int, ...]
    kl: NDArray[np.float64]
    stopped: str


def tune(
    readout: Readout,
    states: NDArray[np.float32],
    held_out: NDArray[np.float32],
    *,
    like: dict[str, Any],
    memory_bound: int,
    steps: int,
    seed: int,
    cancel: Callable[[], bool],
    advance: Callable[[int], object],
) -> Tuned:
    """Train translators.

    Each layer begins with the best linear map in the least-squares sense, or with none where that says less, and goes
    on by Adam on KL(model ‖ layer). The best that was seen on held-out tokens is kept, layer by layer.

    Parameters
    ----------
    readout : Readout
        The model's end.
    states, held_out : array, ``[layer + 1, token, d_model]``
        States of the stream, the model's last ones behind those of the layers.
    like : dict
        Device and precision of the model.
    memory_bound : int
        Bytes that a step may take.
    steps : int
        At most so many.
    seed : int
        Of the order of tokens.
    cancel : callable
        Asked before each step; True ends training, and what was best is returned.
    advance : callable
        Told of each step.
    """
    device = like["device"]
    given = torch.from_numpy(states).to(device=device, dtype=torch.float32)
    n_layers, n_tokens, width = len(given) - 1, given.shape[1], given.shape[2]
    start = [least_squares(given[layer], given[-1], around_itself=True) for layer in range(n_layers)]
    layers = [_Layer(given[layer], given[-1], *start[layer]) for layer in range(n_layers)]

    def look() -> NDArray[np.float64]:
        kl: NDArray[np.float64] = readout.read(_translated(layers, held_out), top=1).kl[:-1].mean(-1, dtype=np.float64)
        return kl

    found, plain = look(), readout.read(held_out, top=1).kl[:-1].mean(-1, dtype=np.float64)
    for layer in np.flatnonzero(plain < found):
        layers[layer] = _Layer(given[layer], given[-1], torch.zeros(width, width), torch.zeros(width))
    best = np.minimum(found, plain)
    kept = [layer.map() for layer in layers]
    history, stale, stopped = [(0, best.copy())], 0, f"after all {steps} steps"
    rate = 0.05 / width
    optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters], lr=rate)
    random = torch.Generator().manual_seed(seed)
    n_vocab = readout.n_vocab
    # logits, their logarithms, and the gradients of both, beside what the model says
    rows = max(1, memory_bound // (6 * 4 * n_vocab))
    size = min(BATCH, n_tokens, rows)
    for step in range(1, steps + 1):
        if cancel():
            stopped = f"stopped by hand after {step - 1} steps"
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - (step - 1) / steps)
        chosen = torch.randperm(n_tokens, generator=random)[:size].to(device)
        with MODEL_LOCK:
            _gradients(readout, layers, given[:, chosen], max(1, rows // size), like["dtype"])
        optimizer.step()
        advance(1)
        if step % EVERY and step != steps:
            continue
        kl = look()
        history.append((step, kl))
        better = kl < best
        kept = [layer.map() if b else old for layer, old, b in zip(layers, kept, better, strict=True)]
        stale = 0 if (best - kl).max(initial=0) > _GAIN else stale + 1
        best = np.minimum(best, kl)
        if stale == PATIENCE:
            stopped = f"after {step} of {steps} steps: no layer got better in {PATIENCE * EVERY}"
            break
    looks, values = zip(*history, strict=True)
    weights, biases = (np.stack([each[i].cpu().numpy() for each in kept]) for i in (0, 1))
    return Tuned(weights, biases, looks, np.stack(values), stopped)


def plain_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a file that torch saved, in float32; nothing in it is run.

    Raises
    ------
    ValueError
        When it holds anything but tensors by name.
    """
    try:
        # a reader of its own, which knows tensors and containers and calls nothing else
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"got {path.name}, which is no file of plain tensors ({first}); nothing else is read."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError(f"got {path.name}, which holds something else than tensors by name; nothing else is read.")
    return {str(name): tensor.float().numpy() for name, tensor in state.items()}


class _Layer:
    """A translator x ↦ x + W x + b, trained in units in which all features vary alike."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight.to(x), bias.to(x)
        # quartiles: a few dimensions and tokens are hundreds of times as large as all others
        low, self._centre, high = torch.quantile(x, torch.tensor([0.25, 0.5, 0.75]).to(x), dim=0)
        self._spread = ((high - low) / 1.35).clamp_min(1e-6 * float((high - low).max()) + 1e-12)
        self._size = y.norm(dim=-1).median() / y.shape[-1] ** 0.5
        self.turn = torch.zeros_like(self._weight, requires_grad=True)
        self.shift = torch.zeros_like(self._bias, requires_grad=True)

    @property
    def parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What is trained."""
        return self.turn, self.shift

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return translated states ``[token, d_model]``, differentiable."""
        scaled = (x - self._centre) / self._spread
        moved: torch.Tensor = x + x @ self._weight.T + self._bias + self._size * (scaled @ self.turn.T + self.shift)
        return moved

    def map(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return W and b as they are now."""
        with torch.no_grad():
            turn = self._size * self.turn / self._spread
            return self._weight + turn, self._bias + self._size * self.shift - turn @ self._centre


def _translated(layers: list[_Layer], states: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        moved = [
            layer(torch.from_numpy(x).to(layer.turn)).cpu().numpy()
            for layer, x in zip(layers, states[:-1], strict=True)
        ]
    return np.stack([*moved, states[-1]])


def _gradients(readout: Readout, layers: list[_Layer], states: torch.Tensor, at_once: int, dtype: torch.dtype) -> None:
    """Set the gradients of the cross-entropy of each layer's answer to the model's, at some tokens."""
    with torch.no_grad():
        said = readout.forward(states[-1].to(dtype)).float().softmax(-1)
    for first in range(0, len(layers), at_once):
        part = layers[first : first + at_once]
        moved = torch.stack([layer(x) for layer, x in zip(part, states[first : first + len(part)], strict=True)])
        log_p = readout.forward(moved.to(dtype)).float().log_softmax(-1)
        loss = -(said * log_p).sum(-1).mean(-1).sum()
        parameters = [p for layer in part for p in layer.parameters]
        # not backward(), which would fill the gradients of the model's own weights
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient


def least_squares(
    x: torch.Tensor, y: torch.Tensor, *, around_itself: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W and b of the ridge regression y ≈ W x + b, or y ≈ x + W x + b, the ridge chosen on every fifth row.

    Rows are weighted so that each target is as long, and none of the few giant ones decides.

    Parameters
    ----------
    x, y : tensor, ``[row, d_model]``
        From what, and what.
    around_itself : bool
        Whether y is x and something more.
    """
    x, y = x.double(), y.double()
    rest = y - x if around_itself else y
    lengths = x.norm(dim=-1)
    weight = (3 * lengths.median() / lengths.clamp_min(1e-12)).clamp(max=1) ** 2 / y.norm(dim=-1).clamp_min(1e-12) ** 2
    inner = torch.arange(len(x), device=x.device) % 5 != 0
    maps = {ridge: _ridge(x[inner], rest[inner], weight[inner], ridge) for ridge in _RIDGES}

    def error(ridge: float) -> float:
        turn, shift = maps[ridge]
        missed = (x @ turn.T + shift - rest)[~inner]
        return float((weight[~inner] * missed.pow(2).sum(-1)).sum())

    turn, shift = _ridge(x, rest, weight, min(_RIDGES, key=error))
    return turn.float(), shift.float()


def _ridge(
    x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, ridge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    weight = (weight / weight.sum())[:, None]
    x_mean, mean = (weight * x).sum(0), (weight * target).sum(0)
    x, target = x - x_mean, target - mean
    gram = (weight * x).T @ x
    spread = gram.diagonal()
    # each feature is held back by its own variance: a few are thousands of times as large as the others
    gram = gram + torch.diag(ridge * spread + 1e-9 * spread.mean() + 1e-30)
    turn = torch.linalg.solve(gram, (weight * x).T @ target).T
    return turn, mean - turn @ x_mean
