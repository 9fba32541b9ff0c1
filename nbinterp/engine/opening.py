"""What a loaded model becomes: its description, and what asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbinterp.anatomy import ModelInfo
from nbinterp.engine.dissect import dissect
from nbinterp.engine.execute import Executor
from nbinterp.engine.tokenizing import Tokenizer, token_texts
from nbinterp.results import Vocabulary

if TYPE_CHECKING:
    from nbinterp.engine.loading import Loaded


def check_bound(size: object) -> None:
    """Refuse a memory bound that is no positive number of bytes, in one sentence."""
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise ValueError(f"got memory_bound={size!r}; wanted a positive number of bytes, for example 2**30.")


def opened(loaded: Loaded, name: str | None, memory_bound: int) -> tuple[Executor, Tokenizer, Vocabulary]:
    """Return what a `Model` is made of.

    Parameters
    ----------
    loaded : Loaded
        Module and tokenizer.
    name : str or None
        What to call it; None for its own name.
    memory_bound : int
        As for `Model.open`.

    Raises
    ------
    ValueError
        For a module that does not hand a residual stream from block to block.
    """
    module = loaded.module
    found = dissect(module)
    config: Any = module.config
    vocabulary = Vocabulary(token_texts(loaded.tokenizer, module.get_output_embeddings().weight.shape[0]))  # type: ignore[operator]
    info = ModelInfo(
        name=name or loaded.name,
        revision=loaded.revision,
        architecture=type(module).__name__,
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_vocab=len(vocabulary),
        blocks=found.blocks,
        n_heads=found.n_heads,
        n_kv_heads=found.n_kv_heads,
        d_head=found.d_head,
        d_mlp=found.d_mlp,
        source=loaded.source,
        dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        anatomy=found.anatomy,
    )
    context = getattr(config, "max_position_embeddings", None)
    tokenizer = Tokenizer(loaded.tokenizer, vocabulary.tokens, info.name, context)
    return Executor.of(module, loaded.tokenizer, info, memory_bound), tokenizer, vocabulary
