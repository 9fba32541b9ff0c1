"""What single heads write: attention's output projection, head by head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.tensors import as_array
from nbinterp.sites import Site

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.engine.execute import Executor


def head_outputs(executor: Executor, layer: int, z: ArrayLike) -> NDArray[np.float32]:
    """Return what each head adds to its attention's output, given its mixture of values.

    The projection's bias belongs to no head and is left out. Where a norm follows the projection (Gemma 2 and 3), this is what
    goes into it.

    Parameters
    ----------
    executor : Executor
        The model.
    layer : int
        Whose heads.
    z : array, ``[n, n_heads, d_head]``
        Mixtures of values, or values.

    Returns
    -------
    array of float32, ``[n, n_heads, d_model]``

    Raises
    ------
    ValueError
        For a layer that the model does not have, and an array of another shape.
    """
    info, site = executor.info, Site("z", layer)
    info.check(site)
    given = np.asarray(z, dtype=np.float32)
    if given.shape[1:] != (info.n_heads, info.d_head) or given.ndim != 3:
        raise ValueError(f"got an array of shape {list(given.shape)}; wanted [n, {info.n_heads}, {info.d_head}].")
    path, _ = info.event(site)
    module = executor.nnsight._module.get_submodule(path)
    with torch.no_grad(), MODEL_LOCK:
        # asked of the module itself: each family stores its weights another way round
        eye = torch.eye(info.n_heads * info.d_head, **executor.like)
        weight = (module(eye) - module(torch.zeros_like(eye[:1]))).unflatten(0, (info.n_heads, info.d_head))
        rows = torch.from_numpy(given).to(**executor.like)
        return as_array(torch.einsum("nhd,hdm->nhm", rows, weight))
