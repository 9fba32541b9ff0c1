"""Where a site's features lie in a module's tensor: taken out, changed, put back, and shaped for whoever reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nbinterp.sites import Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo, Place
    from nbinterp.engine.plan import Edit


def first_tensor(value: Any) -> Any:
    """Return a tensor, or the first entry of the tuple that holds it."""
    return value[0] if isinstance(value, tuple) and value else value


def part_of(tensor: torch.Tensor, place: Place) -> torch.Tensor:
    """Return a component's features ``[row, token, n_features]`` out of its module's tensor, as a view where it can be one."""
    if not place.split:
        return tensor
    return _part(tensor, place).flatten(2)


def put_back(features: torch.Tensor, tensor: torch.Tensor, place: Place) -> None:
    """Write features that `part_of` gave back to where they came from."""
    if place.split:
        part = _part(tensor, place)
        # of a single token they may be a view, changed in place already: torch refuses to copy it onto itself
        if part.data_ptr() != features.data_ptr():
            part.copy_(features.view(part.shape))


def _part(tensor: torch.Tensor, place: Place) -> torch.Tensor:
    divided = tensor.view(*tensor.shape[:-1], *place.split)
    return divided.narrow(place.axis - len(place.split), place.start, place.length)


@dataclass
class Change:
    """An edit of one row of a batch, ready to be applied; `moved` notes how far it went."""

    row: int
    edit: Edit
    arguments: dict[str, Any]
    start: int
    moved: torch.Tensor | float = 0.0

    def __call__(self, features: torch.Tensor, heads: int) -> None:
        """Change the row's ``[n_tokens, n_features]`` in place; its tokens are counted from the first that is run."""
        positions = [position - self.start for position in self.edit.positions]
        head, width = self.edit.site.head, features.shape[-1] // max(heads, 1)
        where = slice(None) if head is None else slice(head * width, (head + 1) * width)
        old = features[positions, where]
        # a model may compute its attention in another precision than everything else
        arguments = {
            name: value.to(old.dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in self.arguments.items()
        }
        new = self.edit.operation(old, arguments)
        # in float32: the norm of a long vector overflows in float16
        self.moved = (new - old).float().norm() / old.float().norm().clamp_min(torch.finfo(torch.float32).tiny)
        features[positions, where] = new


def whole(site: Site) -> Site:
    """Return the site of all heads of which a site may be one."""
    return site if site.head is None else Site(site.component, site.layer)


def head_of(features: torch.Tensor, site: Site, info: ModelInfo) -> torch.Tensor:
    """Return the part of ``[..., n_features]`` that is the site's head, or all of it."""
    if site.head is None:
        return features
    width = features.shape[-1] // info.heads(site)
    return features[..., site.head * width : (site.head + 1) * width]


def shaped(features: torch.Tensor, site: Site, info: ModelInfo) -> NDArray[np.float32]:
    """Return ``[n_tokens, n_features]`` as an array with an axis for heads where the site has several."""
    array = as_array(head_of(features, site, info))
    heads = info.heads(site)
    if site.head is not None or not heads:
        return array
    split = array.reshape(len(array), heads, -1)
    return split.swapaxes(0, 1) if site.component == "pattern" else split


def as_array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor as an array on the processor, in float32."""
    # a copy, so that a result never changes and never keeps a whole batch alive
    return tensor.detach().to(dtype=torch.float32, device="cpu", copy=True).numpy()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the processor's, does not suffice."""
    # on a processor torch raises a RuntimeError like any other, and nnsight may wrap what passes a trace
    chain = [error, error.__cause__, error.__context__]
    return any(isinstance(e, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(e) for e in chain)
