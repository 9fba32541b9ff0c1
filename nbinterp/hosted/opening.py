"""Open a model that a server has: its tokenizer and the tree of its modules here, no weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nnsight
from nnsight.modeling import huggingface

from nbinterp.anatomy import ModelInfo
from nbinterp.demo import models as demo
from nbinterp.engine.beside import introduce
from nbinterp.engine.tokenizing import Tokenizer, token_texts
from nbinterp.hosted.connection import Connection
from nbinterp.hosted.engine import HostedEngine
from nbinterp.hosted.jobs import Job, answer_of, send
from nbinterp.hosted.luggage import packed
from nbinterp.results import Vocabulary

if TYPE_CHECKING:
    from nbinterp.engine.beside import Introduction


def opened(
    source: str, host: str, name: str | None, revision: str | None, memory_bound: int
) -> tuple[HostedEngine, Tokenizer, Vocabulary]:
    """Return what a hosted `Model` is made of; see `nbinterp.model.Model.open`."""
    connection = Connection.to(host)
    model, name = _without_weights(source, name, revision)
    module: Any = model._module
    config = module.config.get_text_config()
    vocabulary = Vocabulary(token_texts(model.tokenizer, config.vocab_size))
    tokenizer = Tokenizer(model.tokenizer, vocabulary.tokens, name, getattr(config, "max_position_embeddings", None))
    luggage = packed(introduce, (), tokenizer, vocabulary)
    met: Introduction = answer_of(lambda: Job(connection, send(model, luggage, connection)))
    known = demo.revision(source) if source in demo.DEMO_MODELS else getattr(module.config, "_commit_hash", None)
    info = ModelInfo(
        name=name,
        revision=known or met.checksum,
        architecture=type(module).__name__,
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_vocab=len(vocabulary),
        blocks=met.dissection.blocks,
        n_heads=met.dissection.n_heads,
        n_kv_heads=met.dissection.n_kv_heads,
        d_head=met.dissection.d_head,
        d_mlp=met.dissection.d_mlp,
        source=source,
        dtype=met.dtype,
        anatomy=met.dissection.anatomy,
    )
    engine = HostedEngine(model, info, met.nbytes, tokenizer, vocabulary, connection, memory_bound)
    return engine, tokenizer, vocabulary


def _without_weights(source: str, name: str | None, revision: str | None) -> tuple[Any, str]:
    """Return a model without its weights, as nnsight has it, and what the server calls it."""
    place = source
    if source in demo.DEMO_MODELS:
        found = demo.directory(source)
        if found is None:
            raise LookupError(
                f"got the demo model {source!r}, whose tokenizer is not on this machine yet; run: nbinterp fetch {source}"
            )
        place = str(found)
    elif Path(source).expanduser().is_dir():
        place = source = str(Path(source).expanduser().resolve())
    try:
        model = nnsight.TransformersModel(place, task="text-generation", revision=revision, dispatch=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LookupError(
            f"got {source!r}, whose configuration and tokenizer could not be opened: {reason}; wanted a demo model "
            f"({', '.join(demo.DEMO_MODELS)}), a folder or a hub id, and its name at the server with name= where that is another."
        ) from error
    called = name or source
    if called != place or place != source or Path(place).is_dir():
        # a server has a folder of its own for it, so that the hub need not be asked what it is called
        model.repo_id = called
        huggingface._ID_CACHE[called] = called
    return model, called
