"""Edges between a model's heads and MLPs: what each carries by its slope, and runs in which some are cut."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nbinterp.engine.batching import equal_batches
from nbinterp.engine.gradients import backward, graph_size, put
from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.objectives import Objective
from nbinterp.engine.reading import matrix, reading
from nbinterp.engine.tensors import first_tensor, part_of, put_back
from nbinterp.sites import Site
from nbinterp.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.envoys import Envoys
    from nbinterp.engine.execute import Executor
    from nbinterp.engine.gradients import Differentiated
    from nbinterp.metrics import Metric
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Vocabulary
    from nbinterp.wiring import Mask

_QKV = ("q", "k", "v")


class Edges:
    """The edges of one model.

    Parameters
    ----------
    executor : Executor
        The model.
    vocabulary : Vocabulary
        Texts of its tokens.

    Raises
    ------
    ValueError
        When what the heads write is not what is added to the residual stream, or nbinterp cannot see what they read.
    """

    def __init__(self, executor: Executor, vocabulary: Vocabulary) -> None:
        self._executor, self._vocabulary = executor, vocabulary
        info = executor.info
        _check(info)
        with MODEL_LOCK:
            self._reading = reading(executor.nnsight._module, info)
        assert info.anatomy is not None
        self.wiring = Wiring(info.n_layers, info.n_heads, info.n_kv_heads, "resid_mid" not in info.anatomy.places)

    @property
    def info(self) -> ModelInfo:
        """Which model."""
        return self._executor.info

    def attribute(
        self,
        clean: Sequence[TokenizedPrompt],
        corrupted: Sequence[TokenizedPrompt],
        metrics: Sequence[Metric],
        steps: int,
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Return batch by batch how many pairs it had, and their edges' scores: ``[receiver, node]``, summed over the pairs.

        The score of an edge from node u to receiver v is (u in the clean run − u in the corrupted run) · slope of the metric at
        v's input, summed over tokens: what the metric loses, to first order, when the edge carries the corrupted run's
        activation instead. The slope is the mean over clean prompts whose embeddings lie k / steps of the way from the
        corrupted ones', k = 1 … steps; with a single step it is that of the clean run.

        Parameters
        ----------
        clean, corrupted : sequence of TokenizedPrompt
            Pairs of equal length.
        metrics : sequence of Metric
            One a pair; what compares, compares with the clean run.
        steps : int
            How many slopes are averaged.

        Raises
        ------
        ValueError, LookupError
            For a metric without a derivative, and a token that the model does not know, before the model runs.
        """
        objectives = [Objective.of(metric, self._vocabulary) for metric in metrics]
        return (
            (
                len(batch),
                self._scores(
                    [clean[i] for i in batch], [corrupted[i] for i in batch], [objectives[i] for i in batch], steps
                ),
            )
            for batch in self._batches(clean, self._attributed_at_once)
        )

    def run(
        self, clean: Sequence[TokenizedPrompt], corrupted: Sequence[TokenizedPrompt], circuits: Sequence[Mask]
    ) -> Iterator[tuple[list[int], list[int], NDArray[np.float32]]]:
        """Run circuits: clean prompts in which every edge outside of the circuit carries what it carries in the corrupted run.

        Each receiver's input is put together anew: what each kept node writes in this run, and what each other node writes
        in the corrupted run, for each head's queries, keys and values by itself.

        Parameters
        ----------
        clean, corrupted : sequence of TokenizedPrompt
            Pairs of equal length.
        circuits : sequence of array ``[receiver, node]``
            Which edges are kept.

        Yields
        ------
        circuits, pairs : list of int
            Which.
        logits : array, ``[circuit, pair, n_vocab]``
            At the last token.
        """
        for batch in self._batches(clean, self._run_at_once):
            ours, theirs = [clean[i] for i in batch], [corrupted[i] for i in batch]
            untouched = self._untouched(theirs)
            at_once = max(1, self._run_at_once(len(ours[0])) // len(batch))
            for first in range(0, len(circuits), at_once):
                some = list(range(first, min(first + at_once, len(circuits))))
                cut = np.stack([self.wiring.edges & ~circuits[c] for c in some])
                ablation = _Ablation(self, torch.tensor(cut, **self._executor.like), untouched)
                yield some, batch, ablation.run(ours)

    def _batches(self, prompts: Sequence[TokenizedPrompt], rows: Callable[[int], int]) -> Iterator[list[int]]:
        return equal_batches(range(len(prompts)), lambda i: len(prompts[i]), lambda group: rows(len(prompts[group[0]])))

    def _attributed_at_once(self, n_tokens: int) -> int:
        m, sizes, wiring = self.info, self._executor.sizes, self.wiring
        # the nodes' differences, four times what one block's receivers get, and what is read and its gradient in each block
        kept = len(wiring.nodes) + 4 * (wiring.attention_inputs + 1) + m.n_layers * 12
        return self._at_once(graph_size(sizes, n_tokens) + sizes.itemsize * n_tokens * m.d_model * kept, n_tokens)

    def _run_at_once(self, n_tokens: int) -> int:
        m, sizes, wiring = self.info, self._executor.sizes, self.wiring
        # the nodes' differences, those of the corrupted run, and one block's inputs, before the norm, in it and behind it
        kept = 2 * len(wiring.nodes) + 5 * (wiring.attention_inputs + 1)
        return self._at_once(
            sizes.pass_(1, n_tokens, n_tokens) + sizes.itemsize * n_tokens * m.d_model * kept, n_tokens
        )

    def _at_once(self, one: int, n_tokens: int) -> int:
        sizes = self._executor.sizes
        return max(1, min(sizes.bound // one, sizes.max_tokens // n_tokens))

    # what is read and written

    def _untouched(self, prompts: Sequence[TokenizedPrompt]) -> torch.Tensor:
        """Return what each node writes: ``[node, row, token, d_model]``."""
        sites = self._written
        return self._outputs(dict(zip(sites, self._executor.read(prompts, sites), strict=True)))

    @property
    def _written(self) -> list[Site]:
        layers = range(self.info.n_layers)
        return [Site("resid_pre", 0), *(Site(component, n) for n in layers for component in ("z", "mlp_out"))]

    def _outputs(self, activations: dict[Site, torch.Tensor]) -> torch.Tensor:
        stream = activations[Site("resid_pre", 0)]
        found = stream.new_empty((len(self.wiring.nodes), *stream.shape))
        found[0] = stream
        for layer in range(self.info.n_layers):
            first, heads = self.wiring.nodes_before(layer), self.info.n_heads
            found[first : first + heads] = self.heads_write(layer, activations[Site("z", layer)])
            found[first + heads] = activations[Site("mlp_out", layer)]
        return found

    def heads_write(self, layer: int, z: torch.Tensor) -> torch.Tensor:
        """Return what each head adds to the stream, without the bias that they share: ``[head, row, token, d_model]``."""
        m = self.info
        weight = matrix(self.module(layer, self._place("z").module)).view(m.n_heads, m.d_head, m.d_model)
        each = z.view(-1, m.n_heads, m.d_head).transpose(0, 1)
        return torch.bmm(each, weight).view(m.n_heads, *z.shape[:-1], m.d_model)

    def weight(self, layer: int, component: str) -> torch.Tensor:
        """Return what turns the attention's input into queries, keys or values: ``[head, d_model, d_head]``."""
        place = self._place(component)
        flat = part_of(matrix(self.module(layer, place.module))[None], place)[0]
        return flat.view(self.info.d_model, place.heads, self.info.d_head).transpose(0, 1)

    def bias(self, layer: int, component: str) -> torch.Tensor:
        """Return what is added to them: ``[n_features]``."""
        place = self._place(component)
        module = self.module(layer, place.module)
        return part_of(_plain(module, self.zero[None, None]), place)[0, 0]

    @property
    def zero(self) -> torch.Tensor:
        """The empty residual stream of one token."""
        return torch.zeros(self.info.d_model, **self._executor.like)

    def _place(self, component: str) -> Any:
        assert self.info.anatomy is not None
        return self.info.anatomy.places[component]

    def module(self, layer: int, path: str) -> Any:
        """Return a module of a block."""
        return self._executor.nnsight._module.get_submodule(f"{self.info.blocks}.{layer}.{path}")

    def norm(self, layer: int, path: str, stream: torch.Tensor) -> torch.Tensor:
        """Return what stands behind a norm of a block; there may be none."""
        return _plain(self.module(layer, path), stream) if path else stream

    def tap(self, layer: int) -> Site:
        """Return the input at which an MLP reads."""
        return Site(f"{self.info.blocks}.{layer}.{self._reading.tap}:input")

    @property
    def envoys(self) -> Envoys:
        """The model as nnsight shows it."""
        return self._executor.envoys

    # scores

    def _scores(
        self,
        clean: Sequence[TokenizedPrompt],
        corrupted: Sequence[TokenizedPrompt],
        objectives: Sequence[Objective],
        steps: int,
    ) -> NDArray[np.float64]:
        difference = self._untouched(corrupted)
        start = difference[0].clone()
        total = torch.zeros(self.wiring.edges.shape, dtype=torch.float64, device=start.device)
        # the last point of the way is the clean run itself, which says what the nodes write there
        whole = self._back(clean, objectives, None, None)
        difference.neg_().add_(self._outputs(whole.activations))
        self._add(total, whole, difference)
        base = whole.logits
        del whole
        for k in range(1, steps):
            stream = start + difference[0] * (k / steps)
            self._add(total, self._back(clean, objectives, base, stream), difference)
        scores: NDArray[np.float64] = (total / steps).cpu().numpy() * self.wiring.edges
        return scores

    def _back(
        self,
        prompts: Sequence[TokenizedPrompt],
        objectives: Sequence[Objective],
        base: torch.Tensor | None,
        stream: torch.Tensor | None,
    ) -> Differentiated:
        layers = range(self.info.n_layers)
        return backward(
            self._executor,
            prompts,
            objectives,
            [*(Site(component, n) for n in layers for component in _QKV), Site("resid_post", layers[-1])],
            forks=[self.tap(n) for n in layers],
            reads=[*(Site("resid_pre", n) for n in layers), *(self._written if stream is None else [])],
            base=base,
            stream=stream,
        )

    def _add(self, total: torch.Tensor, found: Differentiated, difference: torch.Tensor) -> None:
        """Add the scores of one point of the way."""
        flat = difference.flatten(1)
        for layer in range(self.info.n_layers):
            slopes = self._slopes(layer, found)
            # an MLP also reads the heads beside it; edges that are not there are set to 0 in the end
            n_nodes, first = self.wiring.nodes_before(layer + 1) - 1, self.wiring.receivers_before(layer)
            total[first : first + len(slopes), :n_nodes] += slopes.flatten(1) @ flat[:n_nodes].T
        total[-1] += flat @ found.gradients[Site("resid_post", self.info.n_layers - 1)].flatten()

    def _slopes(self, layer: int, found: Differentiated) -> torch.Tensor:
        """Return the slope at each receiver's own input, before its norm: ``[receiver, row, token, d_model]``."""
        m, read = self.info, self._reading
        pulled = []
        for component in _QKV:
            slope, weight = found.gradients[Site(component, layer)], self.weight(layer, component)
            each = slope.view(-1, len(weight), m.d_head).transpose(0, 1)
            pulled.append(torch.bmm(each, weight.transpose(1, 2)).view(len(weight), *slope.shape[:-1], m.d_model))
        at_tap = found.gradients[self.tap(layer)]
        if read.shared:
            pulled.append(at_tap[None])
        slopes = torch.cat(pulled)
        if read.attention:
            stream = found.activations[Site("resid_pre", layer)].detach().requires_grad_()
            with torch.enable_grad():
                normed = self.norm(layer, read.attention, stream)
            (slopes,) = torch.autograd.grad(normed, stream, slopes, is_grads_batched=True)
        return slopes if read.shared else torch.cat([slopes, at_tap[None]])


class _Ablation:
    """One run of some circuits on some pairs, edges cut.

    Parameters
    ----------
    edges : Edges
        The model's edges.
    cut : tensor, ``[circuit, receiver, node]``
        1 for edges that carry what the corrupted run has, else 0.
    corrupted : tensor, ``[node, pair, token, d_model]``
        What each node writes in the corrupted run.
    """

    def __init__(self, edges: Edges, cut: torch.Tensor, corrupted: torch.Tensor) -> None:
        self.edges, self.cut, self.corrupted = edges, cut, corrupted
        self.wiring = edges.wiring
        self.n_circuits = len(cut)
        n_nodes, *shape = corrupted.shape
        # what the corrupted run has in place of what this one writes
        self.difference = corrupted.new_empty((self.n_circuits, n_nodes, *shape))
        self.stream = corrupted

    def run(self, prompts: Sequence[TokenizedPrompt]) -> NDArray[np.float32]:
        """Return the logits of the last token: ``[circuit, pair, n_vocab]``."""
        executor, envoys, info = self.edges._executor, self.edges.envoys, self.edges.info
        steps: dict[tuple[int, float], Callable[[], None]] = {}
        for layer in range(info.n_layers):
            for site, act in self._layer(layer):
                steps[info.position(site)] = act
        steps[info.position(Site("resid_post", info.n_layers - 1))] = self._end
        sites = [Site("resid_pre", 0)]
        ids = torch.tensor([prompt.ids for prompt in prompts], device=self.cut.device).repeat(self.n_circuits, 1)
        with (
            envoys.ready(sites),
            torch.no_grad(),
            executor.nnsight.trace({"input_ids": ids}, use_cache=False, **envoys.logits_of(sites)),
        ):
            for at in sorted(steps):
                steps[at]()
            envoys.unembed(len(ids), sites)
            logits = executor.nnsight.output.logits[:, -1].save()
        found: NDArray[np.float32] = logits.float().view(self.n_circuits, len(prompts), -1).cpu().numpy()
        return found

    def _layer(self, layer: int) -> Iterator[tuple[Site, Callable[[], None]]]:
        """Yield where in a block there is something to do, and what."""
        info = self.edges.info
        yield Site("resid_pre", layer), lambda: self._enter(layer)
        places: dict[tuple[str, str], list[str]] = {}
        for component in _QKV:
            places.setdefault(info.event(Site(component, layer)), []).append(component)
        for components in places.values():
            yield Site(components[0], layer), functools.partial(self._attend, layer, components)
        yield Site("z", layer), lambda: self._heads(layer)
        yield self.edges.tap(layer), lambda: self._mlp_reads(layer)
        yield Site("mlp_out", layer), lambda: self._mlp_writes(layer)

    def _note(self, first: int, written: torch.Tensor) -> None:
        """Note what nodes write: ``[node, row, token, d_model]``."""
        by_circuit = written.view(len(written), self.n_circuits, -1, *written.shape[2:]).transpose(0, 1)
        here = slice(first, first + len(written))
        torch.sub(self.corrupted[here], by_circuit, out=self.difference[:, here])

    def _received(self, first: int, n: int, n_nodes: int) -> torch.Tensor:
        """Return what cut edges change in the input of some receivers: ``[receiver, row, token, d_model]``."""
        difference = self.difference[:, :n_nodes]
        change = torch.bmm(self.cut[:, first : first + n, :n_nodes], difference.flatten(2))
        return change.view(self.n_circuits, n, *difference.shape[2:]).transpose(0, 1).flatten(1, 2)

    def _enter(self, layer: int) -> None:
        self.stream = self.edges.envoys.raw(Site("resid_pre", layer))
        if layer == 0:
            self._note(0, self.stream[None])
        first, n = self.wiring.receivers_before(layer), self.wiring.attention_inputs
        inputs = self._received(first, n, self.wiring.nodes_before(layer)).add_(self.stream)
        self.read = self.edges.norm(layer, self.edges._reading.attention, inputs)

    def _attend(self, layer: int, components: Sequence[str]) -> None:
        """Give each head its own queries, keys and values."""
        m, envoys = self.edges.info, self.edges.envoys
        raw = envoys.raw(Site(components[0], layer)).clone()
        counts = {"q": m.n_heads, "k": m.n_kv_heads, "v": m.n_kv_heads}
        for component in components:
            begin = {"q": 0, "k": m.n_heads, "v": m.n_heads + m.n_kv_heads}[component]
            inputs = self.read[begin : begin + counts[component]]
            each = torch.bmm(inputs.flatten(1, 2), self.edges.weight(layer, component))
            features = each.view(*inputs.shape[:-1], m.d_head).permute(1, 2, 0, 3).flatten(2)
            features = features + self.edges.bias(layer, component)
            place = self.edges._place(component)
            if place.split:
                put_back(features, raw, place)
            else:
                raw = features
        put(envoys, Site(components[0], layer), raw)

    def _heads(self, layer: int) -> None:
        z = first_tensor(self.edges.envoys.raw(Site("z", layer)))
        self._note(self.wiring.nodes_before(layer), self.edges.heads_write(layer, z))

    def _mlp_reads(self, layer: int) -> None:
        edges, wiring = self.edges, self.wiring
        raw = edges.envoys.raw(edges.tap(layer))
        n_nodes = wiring.nodes_before(layer) + (0 if wiring.parallel else edges.info.n_heads)
        change = self._received(wiring.receivers_before(layer) + wiring.attention_inputs, 1, n_nodes)[0]
        if edges._reading.shared:
            read = edges.norm(layer, edges._reading.attention, self.stream + change)
        else:
            read = raw.view_as(change) + change
        put(edges.envoys, edges.tap(layer), read.view_as(raw))

    def _mlp_writes(self, layer: int) -> None:
        written = self.edges.envoys.raw(Site("mlp_out", layer)).view_as(self.stream)
        self._note(self.wiring.nodes_before(layer) + self.edges.info.n_heads, written[None])

    def _end(self) -> None:
        last = Site("resid_post", self.edges.info.n_layers - 1)
        change = self._received(len(self.wiring.receivers) - 1, 1, len(self.wiring.nodes))[0]
        put(self.edges.envoys, last, self.edges.envoys.raw(last) + change)


def _plain(module: Any, tensor: torch.Tensor) -> torch.Tensor:
    """Call a module past what nnsight put around it."""
    found: torch.Tensor = type(module).forward(module, tensor)
    return found


def _check(info: ModelInfo) -> None:
    """Refuse a model whose heads' outputs are not what is added to the stream."""
    for component in (*_QKV, "z", "attn_out", "mlp_out"):
        info.check(Site(component, 0))
    assert info.anatomy is not None
    places = info.anatomy.places
    if places["attn_out"].module != places["z"].module:
        raise ValueError(
            f"got {info.name} ({info.architecture}), which norms what its heads write together before it is added to the "
            "residual stream: no head has an output of its own, so that there are no edges from heads; use attribution_patching."
        )
