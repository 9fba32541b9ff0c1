"""Look at one small run of a model and prove what each site means in it, before anybody relies on it."""

from __future__ import annotations

import contextlib
import math
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from nbinterp.anatomy import Anatomy, Place
from nbinterp.engine.architectures import BLOCKS, FAMILIES, Family, layout
from nbinterp.engine.tensors import first_tensor, part_of, put_back
from nbinterp.sites import COMPONENTS, HEADED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKENS = 3


@dataclass(frozen=True)
class Dissection:
    """What was found: where the blocks are, how heads are shared out, and where each site is."""

    blocks: str
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    anatomy: Anatomy


class _Stop(Exception):
    """Ends a run when enough was seen."""


def dissect(module: torch.nn.Module) -> Dissection:
    """Return the anatomy of a causal language model of transformers, every part of it proved on this very model.

    The model runs a handful of times on three tokens. A component that is not there, or does not do what its name says,
    is left out with the reason.

    Raises
    ------
    ValueError
        When its blocks cannot be found, or do not hand the residual stream from one to the next.
    """
    blocks = find_blocks(module)
    plain = _logits(module)
    says_the_same = _can_eager(module, blocks, plain)
    with eager(module) as stepwise:
        seen = _watch(module)
        _check_stream(module, blocks, seen)
        family = _family(module, blocks)
        config: Any = module.config
        n_heads: int = config.num_attention_heads
        found = _Found(module, blocks, family, seen, n_heads)
        found.prove(stepwise, says_the_same)
    before, inside, after = _calls(seen, blocks)
    grows, caches = _can_grow(module, blocks, plain), _can_cache(module, blocks, plain)
    anatomy = Anatomy(before, inside, after, found.places, found.lacking, grows, caches, _beside(module, blocks))
    return Dissection(blocks, n_heads, found.n_kv_heads, found.d_head, found.d_mlp, anatomy)


def find_blocks(module: torch.nn.Module) -> str:
    """Return the path of the module's list of blocks.

    Raises
    ------
    ValueError
        When it stands at none of `BLOCKS`.
    """
    for path in BLOCKS:
        found = _at(module, path)
        if isinstance(found, torch.nn.ModuleList) and len(found):
            return path
    raise ValueError(
        f"got a model of class {type(module).__name__} with its blocks at none of {', '.join(BLOCKS)}; nbinterp knows decoder-only language models "
        "of transformers' Llama, GPT-2, GPT-NeoX, Gemma, Qwen, Mistral, Phi, OPT and Falcon families: open one of those."
    )


@contextlib.contextmanager
def eager(module: Any) -> Iterator[bool]:
    """Let attention be computed step by step, so that its pattern exists; yield whether this model can."""
    before = module.config._attn_implementation
    if before == "eager":
        yield True
        return

    def switch(to: str) -> None:
        if module._can_set_attn_implementation():
            module.set_attn_implementation(to)
        else:  # what looks its own configuration up at each call, as Falcon does
            module.config._attn_implementation = to

    try:
        switch("eager")
    except (ValueError, AttributeError):
        yield False
        return
    try:
        yield True
    finally:
        switch(before)


def _at(module: torch.nn.Module, path: str) -> Any:
    try:
        return operator.attrgetter(path)(module)
    except AttributeError:
        return None


def _ids(module: torch.nn.Module) -> torch.Tensor:
    device = next(module.parameters()).device
    return torch.arange(1, _TOKENS + 1, device=device)[None]


def _pass(module: torch.nn.Module, hooks: Sequence[torch.utils.hooks.RemovableHandle]) -> None:
    """Run the model on three tokens, until a hook stops it, and remove the hooks."""
    try:
        with contextlib.suppress(_Stop):
            _logits(module)
    finally:
        for hook in hooks:
            hook.remove()


def _watch(module: torch.nn.Module) -> dict[str, Any]:
    """Run the model on three tokens and return what passed each end of each module, in order: ``"path.input"`` → tensor."""
    seen: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        value = first_tensor(value)
        seen.setdefault(name, value.detach().clone() if isinstance(value, torch.Tensor) else None)

    hooks = []
    for path, child in module.named_modules():
        ends = [f"{path}.{side}" if path else side for side in ("input", "output")]
        hooks += [
            child.register_forward_pre_hook(
                lambda _, args, kwargs, name=ends[0]: keep(name, next(iter((*args, *kwargs.values())), None)),
                with_kwargs=True,
            ),
            child.register_forward_hook(
                lambda _, args, output, name=ends[1]: keep(name, getattr(output, "logits", output))
            ),
        ]
    _pass(module, hooks)
    return seen


def _close(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype, layers: int = 1) -> bool:
    """Whether two tensors are equal to within what sums in a precision may differ by, after so many layers."""
    # NaN: weights that are not finite are for whoever reads activations to complain of
    a, b = a.float().nan_to_num(), b.float().nan_to_num()
    eps = torch.finfo(dtype).eps
    tolerance = eps * (64 if eps < 1e-4 else 4) * layers**0.5
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-6 + tolerance * float(b.abs().max())


def _check_stream(module: torch.nn.Module, blocks: str, seen: dict[str, Any]) -> None:
    n_layers = len(_at(module, blocks))
    for layer in range(n_layers - 1):
        handed, taken = seen[f"{blocks}.{layer}.output"], seen[f"{blocks}.{layer + 1}.input"]
        if handed is None or taken is None or not torch.equal(handed.nan_to_num(), taken.nan_to_num()):
            raise ValueError(
                f"got a model of class {type(module).__name__} in which block {layer} does not hand its output to block {layer + 1} as it is, "
                "so that 'resid_post' would not be the residual stream there; nbinterp cannot work on this model."
            )


def _family(module: torch.nn.Module, blocks: str) -> Family:
    """Return the family of which the model's first block has most modules."""
    block = _at(module, blocks)[0]

    def fit(family: Family) -> int:
        ends = [end for component, end in family.sites.items() if component != "embed"]
        return sum(_at(block, end.partition(".source.")[0].rpartition(".")[0]) is not None for end in ends)

    # max takes the first of equals
    return max((family for family in FAMILIES if family.blocks == blocks), key=fit)


class _Found:
    """The components of one model as far as they are proved."""

    def __init__(
        self, module: torch.nn.Module, blocks: str, family: Family, seen: dict[str, Any], n_heads: int
    ) -> None:
        self.module, self.blocks, self.family, self.seen, self.n_heads = module, blocks, family, seen, n_heads
        self.n_layers = len(_at(module, blocks))
        self.dtype = next(module.parameters()).dtype
        self.lacking: dict[str, str] = {}
        self.places = {
            "resid_pre": Place("", "input"),
            "resid_post": Place("", "output"),
            "logits": Place("", "output"),
        }
        for component, end in family.sites.items():
            path, side = end.rsplit(".", 1)
            called = path.partition(".source.")[0]
            if component != "embed":
                called = f"{blocks}.0.{called}"
            if f"{called}.{side}" in seen:
                self.places[component] = Place(path, side, n_heads if component in HEADED else 0)
            else:
                self.lacking[component] = f"its blocks have no module {called.removeprefix(f'{blocks}.0.')!r}"
        self.n_kv_heads = self.d_head = self.d_mlp = 0
        if "z" in self.places:
            self.d_head = self._width("z") // n_heads
        if "mlp_post" in self.places:
            self.d_mlp = self._width("mlp_post")

    def prove(self, stepwise: bool, says_the_same: bool) -> None:
        """Drop what does not do what its name says.

        Parameters
        ----------
        stepwise : bool
            Whether attention is computed step by step now.
        says_the_same : bool
            Whether the model says the same then as it does otherwise.
        """
        finite = bool(torch.isfinite(self.seen["output"]).all())
        self._share_heads_out(stepwise and finite)
        if not says_the_same:
            self._drop(
                "this model does not say the same when attention is computed step by step (attn_implementation='eager')",
                "pattern",
            )
        if finite:
            self._prove_sums()
        for component in COMPONENTS:
            if component not in self.places:
                self.lacking.setdefault(component, "it was not found in this model")

    def _drop(self, why: str, *components: str) -> None:
        for component in components:
            if self.places.pop(component, None):
                self.lacking[component] = why

    def _width(self, component: str) -> int:
        return int(self._tensor(component, 0).shape[-1])

    def _tensor(self, component: str, layer: int) -> torch.Tensor:
        """Return what was seen of a component: ``[n_tokens, n_features]``."""
        place = self.places[component]
        tensor = self.seen[".".join(filter(None, [f"{self.blocks}.{layer}", place.module, place.side]))]
        return part_of(tensor.reshape(1, _TOKENS, -1), place)[0]

    def _prove_sums(self) -> None:
        """Prove that attention and MLP add to the residual stream what `attn_out` and `mlp_out` say, and when."""
        if "attn_out" in self.places and "mlp_out" in self.places:
            layers = range(self.n_layers)
            total = all(
                self._equal(self._tensor("resid_post", n), self._sum(n, "resid_pre", "attn_out", "mlp_out"))
                for n in layers
            )
            if not total:
                self._drop("a block's output is not its input plus this", "attn_out", "mlp_out")
        if "resid_mid" in self.places:
            known = "attn_out" in self.places
            if not known or not all(
                self._equal(self._tensor("resid_mid", n), self._sum(n, "resid_pre", "attn_out"))
                for n in range(self.n_layers)
            ):
                self._drop(
                    "attention and MLP read the same residual stream here, so that there is none between them"
                    if known
                    else "its attention does not simply add to the residual stream",
                    "resid_mid",
                )
        elif "attn_out" in self.places:
            self.lacking["resid_mid"] = (
                "attention and MLP read the same residual stream here, so that there is none between them"
            )

    def _sum(self, layer: int, *components: str) -> torch.Tensor:
        return sum((self._tensor(component, layer).float() for component in components), torch.tensor(0.0))

    def _equal(self, a: torch.Tensor, b: torch.Tensor) -> bool:
        return _close(a, b.to(a.device), self.dtype)

    def _share_heads_out(self, provable: bool) -> None:
        """Find which features are which head's queries, keys and values, and prove it on the pattern of the first block."""
        heads = [c for c in ("q", "k", "v") if c in self.places]
        if len(heads) < 3 or not self.d_head:
            self._drop("its attention is not made of queries, keys and values that nbinterp knows", *heads)
            return
        width, plain = self._width("k"), dict(self.places)
        fused = bool(self.family.fused)
        self.n_kv_heads = (width // self.d_head - self.n_heads) // 2 if fused else width // self.d_head
        for name in self.family.fused or ("",):
            for component in heads:
                n = self.n_heads if component == "q" else self.n_kv_heads
                part = layout(name, self.n_heads, self.n_kv_heads, self.d_head)[component] if name else None
                place = replace(plain[component], heads=n)
                if part is not None:
                    place = replace(place, split=part.split, axis=part.axis, start=part.start, length=part.length)
                self.places[component] = place
            if not provable or self._heads_are_right():
                return
        self._drop("its queries, keys and values lie in an order that nbinterp does not know", *heads, "pattern")

    def _heads_are_right(self) -> bool:
        """Whether values mixed by the pattern are z, and without a head's queries or keys its pattern, and no other, changes."""
        group = self.n_heads // self.n_kv_heads
        if self.n_heads % self.n_kv_heads or (
            self.places["v"].split and math.prod(self.places["v"].split) != self._raw_width("v")
        ):
            return False
        pattern = self._first_pattern()
        if pattern is None:
            return True
        values = self._tensor("v", 0).reshape(-1, self.n_kv_heads, self.d_head).repeat_interleave(group, dim=1)
        mixed = torch.einsum("hqk,khd->qhd", pattern.float(), values.float()).flatten(1)
        rows = pattern.float().sum(-1)
        if not self._equal(rows, torch.ones_like(rows)) or not self._equal(mixed, self._tensor("z", 0)):
            return False
        last_q, last_k = self.n_heads - 1, self.n_kv_heads - 1
        return all(
            self._only_these_change(pattern, self._first_pattern(component, head), changed)
            for component, head, changed in (
                ("q", last_q, [last_q]),
                ("k", last_k, list(range(last_k * group, self.n_heads))),
            )
        )

    def _only_these_change(self, before: torch.Tensor, after: torch.Tensor | None, heads: list[int]) -> bool:
        # any change at all: a head that looks at all tokens alike goes on to do so
        return after is not None and all(
            not torch.equal(after[h], before[h]) if h in heads else self._equal(after[h], before[h])
            for h in range(self.n_heads)
        )

    def _raw_width(self, component: str) -> int:
        place = self.places[component]
        return int(self.seen[f"{self.blocks}.0.{place.module}.{place.side}"].shape[-1])

    def _first_pattern(self, component: str | None = None, head: int = 0) -> torch.Tensor | None:
        """Return the first block's pattern ``[n_heads, n_query, n_key]``, with one head's queries or keys set to zero."""
        block = _at(self.module, self.blocks)[0]
        attention = _at(block, self.places["z"].module.rpartition(".")[0])
        caught: list[torch.Tensor | None] = []

        def catch(_: torch.nn.Module, args: Any, output: Any) -> None:
            caught.append(output[1][0] if isinstance(output, tuple) and output[1] is not None else None)
            raise _Stop

        def silence(_: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            assert component is not None
            place, output = self.places[component], output.clone()
            features = part_of(output, place)
            features[..., head * self.d_head : (head + 1) * self.d_head] = 0
            put_back(features, output, place)
            return output

        hooks = [attention.register_forward_hook(catch)]
        if component is not None:
            hooks.append(_at(block, self.places[component].module).register_forward_hook(silence))
        _pass(self.module, hooks)
        return caught[0] if caught else None


def _calls(seen: dict[str, Any], blocks: str) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Return the ends of modules before, inside and after the blocks, in order, with their features; only those with tokens."""
    before: dict[str, int] = {}
    inside: dict[str, int] = {}
    after: dict[str, int] = {}
    for name, tensor in seen.items():
        if tensor is None or not tensor.is_floating_point() or tensor.ndim < 2:
            continue
        if tensor.shape[:-1] not in ((1, _TOKENS), (_TOKENS,)):
            continue
        if name.startswith(f"{blocks}."):
            inside.setdefault(name.removeprefix(f"{blocks}.").partition(".")[2], tensor.shape[-1])
        else:
            (after if inside else before)[name] = tensor.shape[-1]
    return before, inside, after


def _beside(module: torch.nn.Module, blocks: str) -> int:
    """Return how many values a block returns beside the residual stream."""
    found: list[int] = []

    def count(_: torch.nn.Module, args: Any, output: Any) -> None:
        found.append(len(output) - 1 if isinstance(output, tuple) else 0)
        raise _Stop

    _pass(module, [_at(module, blocks)[0].register_forward_hook(count)])
    return found[0]


def _logits(module: torch.nn.Module) -> torch.Tensor:
    """Return the logits of three tokens: ``[1, n_tokens, n_vocab]``."""
    with torch.no_grad():
        return module(_ids(module), use_cache=False).logits  # type: ignore[no-any-return]


def _same(module: torch.nn.Module, blocks: str, logits: torch.Tensor, plain: torch.Tensor) -> bool:
    return _close(logits, plain, plain.dtype, 4 * len(_at(module, blocks)))


def _can_eager(module: torch.nn.Module, blocks: str, plain: torch.Tensor) -> bool:
    """Whether the model says the same when its attention is computed step by step."""
    with eager(module) as possible:
        return possible and _same(module, blocks, _logits(module), plain)


def _can_grow(module: torch.nn.Module, blocks: str, plain: torch.Tensor) -> bool:
    """Whether two rows may pass the blocks where the model was called with one."""

    def twice(_: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (args[0].expand(2, -1, -1).clone(), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": kwargs["hidden_states"].expand(2, -1, -1).clone()}

    hook = _at(module, blocks)[0].register_forward_pre_hook(twice, with_kwargs=True)
    try:
        return _same(module, blocks, _logits(module), plain.expand(2, -1, -1))
    except (RuntimeError, ValueError, IndexError):
        return False
    finally:
        hook.remove()


def _can_cache(module: torch.nn.Module, blocks: str, plain: torch.Tensor) -> bool:
    """Whether the last token's logits are the same when what came before it comes from the key-value cache."""
    from transformers import DynamicCache

    ids, cache = _ids(module), DynamicCache()
    try:
        with torch.no_grad():
            module(ids[:, :-1], past_key_values=cache, use_cache=True)
            last = module(ids[:, -1:], past_key_values=cache, use_cache=True).logits[:, -1]
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    return len(cache.layers) > 0 and _same(module, blocks, last, plain[:, -1])
