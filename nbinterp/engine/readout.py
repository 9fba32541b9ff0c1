"""Read the residual stream as the model reads its end: final norm, unembedding, and what follows, reduced on the fly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nbinterp.engine.folding import pull
from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.tensors import as_array
from nbinterp.engine.tolerances import TOLERANCES
from nbinterp.engine.tuning import Tuned, least_squares, tune
from nbinterp.prompts import TokenizedPrompt
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from nbinterp.engine.execute import Executor

_ROWS = 256
"""Rows of one product on a processor: more stream the unembedding's weights less often, and leave its caches."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What states say of the next token, each as if it were the last; the last layer of them is what the model says.

    Parameters
    ----------
    top, top_probability : array of int and of float, ``[layer, token, place]``
        The likeliest tokens, by id, and their probabilities.
    entropy : array, ``[layer, token]``
        Of the next token, in nats.
    kl : array, ``[layer, token]``
        KL(last layer ‖ this layer) of the next token, in nats.
    logit, log_probability, rank : array, ``[tracked, layer, token]``
        Of each tracked token; ranks count from 0, for the likeliest.
    """

    top: NDArray[np.int64]
    top_probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    kl: NDArray[np.float32]
    logit: NDArray[np.float32]
    log_probability: NDArray[np.float32]
    rank: NDArray[np.int64]

    def with_(self, other: Reading, tokens: Sequence[int]) -> Reading:
        """Return a copy that has at some tokens, by their place among its own, what another reading has at its own."""

        def merged(name: str) -> NDArray[Any]:
            # the axis of tokens comes last, except where several of the likeliest are named
            axis = 1 if name.startswith("top") else -1
            array = np.moveaxis(getattr(self, name).copy(), axis, 0)
            array[list(tokens)] = np.moveaxis(getattr(other, name), axis, 0)
            array.flags.writeable = False
            return np.moveaxis(array, 0, axis)

        return Reading(**{one.name: merged(one.name) for one in fields(self)})


class Readout:
    """What a model does behind its blocks, from a state of the residual stream to logits.

    Reached as `Model.readout`.

    Parameters
    ----------
    executor : Executor
        The model.

    Raises
    ------
    ValueError
        When the modules behind the blocks, one after the other, do not give this model's logits.
    """

    def __init__(self, executor: Executor) -> None:
        info, self._executor = executor.info, executor
        assert info.anatomy is not None
        self.paths = in_a_row([*info.anatomy.after])
        root = executor.nnsight._module
        self.modules = tuple(root.get_submodule(path) for path in self.paths)
        head = self.modules[-1] if self.modules else None
        plain = type(head) is torch.nn.Linear and head.bias is None
        self._weight: torch.Tensor | None = head.weight if plain and head is not None else None
        self.cap: float | None = getattr(root.config.get_text_config(), "final_logit_softcapping", None)
        self._kept: tuple[tuple[int, int, tuple[int, ...]], NDArray[Any], Reading] | None = None
        self._prove()

    @property
    def n_vocab(self) -> int:
        """How many logits there are."""
        return self._executor.info.n_vocab

    def tuned(
        self,
        states: NDArray[np.float32],
        held_out: NDArray[np.float32],
        *,
        steps: int,
        seed: int,
        cancel: Callable[[], bool],
        advance: Callable[[int], object],
    ) -> Tuned:
        """Train translators of each layer's states ``[layer + 1, token, d_model]``: see `nbinterp.engine.tuning.tune`."""
        like, bound = self._executor.like, self._executor.memory_bound
        settings: dict[str, Any] = {"steps": steps, "seed": seed, "cancel": cancel, "advance": advance}
        return tune(self, states, held_out, like=like, memory_bound=bound, **settings)

    def fitted(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return W and b of the ridge regression of states ``y`` on states ``x``, each ``[row, d_model]``: see `nbinterp.engine.tuning.least_squares`."""
        turn, shift = least_squares(self._tensor(x), self._tensor(y))
        return as_array(turn), as_array(shift)

    def _prove(self) -> None:
        info = self._executor.info
        ids = tuple(range(1, 4))
        prompt = TokenizedPrompt("", ids, ("",) * len(ids), ((0, 0),) * len(ids))
        state, wanted = self._executor.read([prompt], [Site("resid_post", info.n_layers - 1), Site("logits")])
        with torch.no_grad(), MODEL_LOCK:
            given = self.forward(state)
        scale = wanted.float().abs().max()
        shapes = given.shape == wanted.shape
        if not shapes or not bool((given - wanted).float().abs().max() <= TOLERANCES[info.dtype] * scale):
            raise ValueError(
                f"got {info.name} ({info.architecture}), whose logits are not what {', '.join(self.paths) or 'nothing'} makes of the last "
                "residual stream: it does something behind its blocks that nbinterp does not know, so that no lens can read it."
            )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits ``[..., n_vocab]`` of states ``[..., d_model]``, differentiable."""
        return self.capped(_passed(self.modules, states))

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits after the model's soft cap c, c tanh(z / c), where it has one."""
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def logits(self, states: ArrayLike) -> NDArray[np.float32]:
        """Return what states say of the next token, each as if it were the last residual stream.

        Parameters
        ----------
        states : array, ``[..., d_model]``
            States of the residual stream.

        Returns
        -------
        array of float32, ``[..., n_vocab]``
        """
        given = self._tensor(states)
        with torch.no_grad(), MODEL_LOCK:
            return as_array(self.forward(given))

    def toward(
        self, states: ArrayLike, weights: Mapping[int, float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return along which direction of the residual stream a weighted sum of logits grows, the final norm's scale frozen.

        A sum of logits z, before a soft cap, is ``z = v · x + c`` on each state x: see `nbinterp.engine.folding.pull`.

        Parameters
        ----------
        states : array, ``[row, d_model]``
            Last residual streams.
        weights : mapping of int to float
            Weight of each token's logit, by id.

        Returns
        -------
        vectors : array, ``[row, d_model]``
            v.
        constants : array, ``[row]``
            c.
        logits : array, ``[row]``
            z, as the model computes it.

        Raises
        ------
        ValueError
            When what is behind the blocks is not linear but for a norm and a soft cap.
        """
        given = self._tensor(states)
        with MODEL_LOCK:
            with torch.no_grad():
                logits = _passed(self.modules, given).double()
            directions = torch.zeros_like(logits)
            for token, weight in weights.items():
                directions[:, token] += weight
            vectors, constants = pull(self.modules, given, directions)
        return _double(vectors), _double(constants), _double((logits * directions).sum(-1))

    def toward_heads(
        self, layer: int, states: ArrayLike, vectors: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return along which direction of each head's mixture of values a layer's attention writes along some directions.

        Attention adds ``a`` to the stream, and ``vectors · a = Σ_heads w_head · z_head + c``, a norm behind the heads taken with its
        scale frozen.

        Parameters
        ----------
        layer : int
            Which one.
        states : array, ``[row, n_heads, d_head]``
            The heads' mixtures of values z.
        vectors : array, ``[row, d_model]``
            Directions of the stream.

        Returns
        -------
        vectors : array, ``[row, n_heads, d_head]``
            w.
        constants : array, ``[row]``
            c.

        Raises
        ------
        ValueError
            When what is between the heads and the stream is not linear but for a norm.
        """
        info = self._executor.info
        for component in ("z", "attn_out"):
            info.check(Site(component, layer))
        assert info.anatomy is not None
        places, inside = info.anatomy.places, [*info.anatomy.inside]
        first, last = (
            inside.index(".".join(filter(None, [places[c].module, places[c].side]))) for c in ("z", "attn_out")
        )
        root = self._executor.nnsight._module
        modules = [root.get_submodule(f"{info.blocks}.{layer}.{path}") for path in in_a_row(inside[first : last + 1])]
        z = np.asarray(states)
        given = torch.from_numpy(np.array(z.reshape(len(z), -1), dtype=np.float32)).to(**self._executor.like)
        along = torch.from_numpy(np.array(vectors, dtype=np.float64)).to(given.device)
        with MODEL_LOCK:
            back, constants = pull(modules, given, along)
        return _double(back).reshape(z.shape), _double(constants)

    def read(
        self,
        states: ArrayLike,
        *,
        top: int = 5,
        track: Sequence[int] = (),
        keep: bool = False,
        cancel: Callable[[], bool] = lambda: False,
        advance: Callable[[int], object] = lambda rows: None,
    ) -> Reading:
        """Return what states say of the next token, without ever holding all their logits.

        Parameters
        ----------
        states : array, ``[layer, token, d_model]``
            States of the residual stream; those of the last layer are what the others are compared with.
        top : int
            How many of the likeliest tokens to name.
        track : sequence of int
            Ids of tokens to follow.
        keep : bool
            Keep what was read, and give it again where the next that is kept is the same: an untouched run beside each step of a
            slider.
        cancel : callable
            Asked before each product; True stops with KeyboardInterrupt.
        advance : callable
            Told how many states were read.

        Returns
        -------
        Reading

        Raises
        ------
        ValueError
            When a state gives logits that are not finite.
        """
        given, asked = np.asarray(states), (self._executor.weights_state(), top, tuple(track))
        if keep and self._kept is not None and self._kept[0] == asked and np.array_equal(self._kept[1], given):
            advance(math.prod(given.shape[:2]))
            return self._kept[2]
        reading = self._read(self._tensor(given), top, track, cancel, advance)
        if keep:
            self._kept = asked, given, reading
        return reading

    def _read(
        self,
        states: torch.Tensor,
        top: int,
        track: Sequence[int],
        cancel: Callable[[], bool],
        advance: Callable[[int], object],
    ) -> Reading:
        # [token, layer, d_model]: a token's layers lie together, beside what its last one says
        rows = states.transpose(0, 1).contiguous()
        n_tokens, n_layers, _ = rows.shape
        most = self._rows(top)
        found = _Found(n_layers, n_tokens, top, track, rows.device)
        # a product's memory is asked for once: to be given new pages takes as long as to fill them
        size = min(most, n_layers * n_tokens)
        space = [torch.empty(size * self.n_vocab, dtype=rows.dtype, device=rows.device)]
        space.append(torch.empty_like(space[0], dtype=torch.float32))
        with torch.no_grad():
            for tokens, layers in _blocks(n_tokens, n_layers, most):
                if cancel():
                    raise KeyboardInterrupt
                with MODEL_LOCK:
                    block = rows[tokens, layers]
                    logits, free = self._block(block.flatten(0, 1), space)
                found.add(tokens, layers, *(part.view(*block.shape[:2], -1) for part in (logits, free)))
                advance(block.shape[0] * block.shape[1])
        return found.reading()

    def _rows(self, top: int) -> int:
        """Return how many rows of logits may be held at once."""
        n_vocab, like = self.n_vocab, self._executor.like
        # logits, room for their probabilities, and what the model says, once more in float32 where it computes in less
        one = n_vocab * (3 * 4 + (0 if like["dtype"] == torch.float32 else like["dtype"].itemsize))
        bound = self._executor.memory_bound // one
        return int(max(1, min(bound, _ROWS if like["device"].type == "cpu" else 16 * _ROWS)))

    def _block(self, rows: torch.Tensor, space: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``[row, n_vocab]`` in float32, and as much free memory; the next call will use both."""
        shape = (len(rows), self.n_vocab)
        given, free = (part[: shape[0] * shape[1]].view(shape) for part in space)
        if self._weight is None:
            return self.forward(rows).float(), free
        normed = _passed(self.modules[:-1], rows)
        return self.capped(torch.mm(normed, self._weight.T, out=given)).float(), free

    def _tensor(self, states: ArrayLike) -> torch.Tensor:
        array = np.asarray(states)
        width = self._executor.info.d_model
        if array.ndim < 1 or array.shape[-1] != width or array.dtype.kind not in "fiu":
            raise ValueError(
                f"got states of shape {list(array.shape)} and type {array.dtype}; wanted numbers [..., {width}], as wide as the "
                "residual stream."
            )
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(**self._executor.like)


class _Found:
    """What is noted of each block of logits, on the model's own device."""

    def __init__(self, n_layers: int, n_tokens: int, top: int, track: Sequence[int], device: torch.device) -> None:
        self._track = tuple(track)

        def grid(*more: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.empty((n_tokens, n_layers, *more), dtype=dtype, device=device)

        self._top, self._top_probability = grid(top, dtype=torch.int64), grid(top)
        self._entropy, self._kl = grid(), grid()
        self._logit, self._log_probability, self._rank = (grid(len(track)) for _ in range(3))
        # what the model says of the tokens of the block, and the entropy of that
        self._said = self._said_entropy = torch.empty(0, device=device)

    def add(self, tokens: slice, layers: slice, logits: torch.Tensor, free: torch.Tensor) -> None:
        """Note a block of logits ``[token, layer, n_vocab]``; blocks of the same tokens come from the last layer on.

        The logits are changed, and what is in the free memory, which is as large.
        """
        at = (tokens, layers)
        best, self._top[at] = logits.topk(self._top.shape[-1], dim=-1)
        for n, token in enumerate(self._track):
            logit = logits[..., token, None]
            self._logit[at][..., n] = logit[..., 0]
            # as `metrics.rank`: of equally likely tokens the lower id comes first
            self._rank[at][..., n] = torch.gt(logits, logit, out=free).sum(-1)
            self._rank[at][..., n] += torch.eq(logits[..., :token], logit, out=free[..., :token]).sum(-1)
        # counted from the largest, what is summed below is small, and so is its rounding
        logits -= best[..., :1]
        probabilities = torch.softmax(logits, -1, out=free)
        self._top_probability[at] = probabilities.gather(-1, self._top[at])
        normaliser = -self._top_probability[at][..., 0].log()
        self._log_probability[at] = self._logit[at] - best[..., :1] - normaliser[..., None]
        if layers.stop == self._top.shape[1]:
            self._said = probabilities[:, -1:] / probabilities[:, -1:].sum(-1, keepdim=True)
        # products, then sums: torch's dot products add one number after the other, and lose the small ones
        self._entropy[at] = normaliser - torch.mul(probabilities, logits, out=free).sum(-1)
        if layers.stop == self._top.shape[1]:
            self._said_entropy = self._entropy[tokens, -1:]
        # KL(q ‖ p) = Σ q log q − Σ q z + log Σ exp z
        self._kl[at] = normaliser - torch.mul(self._said, logits, out=free).sum(-1) - self._said_entropy

    def reading(self) -> Reading:
        """Return what was found, with layers first."""
        if not bool(torch.isfinite(self._entropy).all()):
            raise ValueError(
                "got states whose logits are not finite; wanted numbers: look for activations that overflow, or open the model in float32."
            )

        def array(tensor: torch.Tensor) -> NDArray[Any]:
            grid = np.ascontiguousarray(np.moveaxis(tensor.cpu().numpy(), 0, 1))
            grid.flags.writeable = False
            return grid

        def tracked(tensor: torch.Tensor) -> NDArray[Any]:
            return np.moveaxis(array(tensor), -1, 0)

        return Reading(
            array(self._top),
            array(self._top_probability),
            # rounding can take what is zero below it
            array(self._entropy.clamp_min(0)),
            array(self._kl.clamp_min(0)),
            tracked(self._logit),
            tracked(self._log_probability),
            tracked(self._rank.long()),
        )


def _blocks(n_tokens: int, n_layers: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of tokens × layers of at most so many rows; of each block of tokens, those of the last layers first."""
    many_tokens, many_layers = max(1, rows // n_layers), min(n_layers, rows)
    for token in range(0, n_tokens, many_tokens):
        for stop in range(n_layers, 0, -many_layers):
            yield slice(token, min(token + many_tokens, n_tokens)), slice(max(stop - many_layers, 0), stop)


def _passed(modules: Sequence[torch.nn.Module], states: torch.Tensor) -> torch.Tensor:
    for module in modules:
        states = module(states)
    return states


def _double(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().numpy()


def in_a_row(ends: Sequence[str]) -> tuple[str, ...]:
    """Return the outermost modules of which both ends lie among these, in order."""
    entered = [end.removesuffix(".input") for end in ends if end.endswith(".input")]
    left = {end.removesuffix(".output") for end in ends if end.endswith(".output")}
    whole = [path for path in entered if path in left]
    return tuple(path for path in whole if not any(path.startswith(f"{other}.") for other in whole))
