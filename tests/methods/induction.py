"""A transformer written by hand, GPT-2-shaped and of attention only, whose induction circuit is known to the last number.

The last head of block 0 looks at the token before and writes down which token that was. Head `INDUCTION` of block 1 looks for the
earlier place before which its own token stood, and says what stands there. All other heads look about at random and
write nothing.
"""

import itertools

import torch

import nbinterp as nb

WORDS = [f" {a}{b}" for a, b in itertools.product("bdfgklmn", "aiou")][:31]
N_TOKENS, N_POSITIONS, N_HEADS = 32, 48, 6

PREVIOUS, INDUCTION = "z.0.5", "z.1.2"
"""The two heads of the circuit."""

SHARPNESS = 30.0
"""How far, in logits of attention, a head's choice stands above everything else: all other weight is below e⁻²⁵."""

_WORD, _POSITION, _BEFORE, _SAID = (
    slice(0, 32),
    slice(32, 80),
    slice(80, 112),
    slice(112, 144),
)  # features, each held as a pair (x, −x), so that layer norm has no mean to take away
_FEATURES, _D_HEAD = 144, 48


def induction(*, attends=None):
    """Return the module.

    Parameters
    ----------
    attends : int, optional
        Instead of the circuit: a model without any induction, whose first head looks so many tokens back, whatever stands there.
    """
    import transformers

    config = transformers.GPT2Config(
        vocab_size=N_TOKENS, n_positions=N_POSITIONS, n_embd=2 * _FEATURES, n_layer=2, n_head=N_HEADS, n_inner=4,
        bos_token_id=31, eos_token_id=31, pad_token_id=31, tie_word_embeddings=False, layer_norm_epsilon=1e-12,
    )  # fmt: skip
    torch.manual_seed(0)
    module = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    core = module.transformer
    for name, parameter in module.named_parameters():
        if ".ln_" not in name:
            parameter.zero_()
    core.wte.weight.copy_(_paired(_unit(_WORD, N_TOKENS)))
    core.wpe.weight.copy_(_paired(_unit(_POSITION, N_POSITIONS)))
    # whatever looks about at random: a query, a key, and nothing written
    for block in core.h:
        block.attn.c_attn.weight[:, : 2 * N_HEADS * _D_HEAD].normal_(0, 0.05)
    previous, induct = (int(site.rpartition(".")[2]) for site in (PREVIOUS, INDUCTION))
    back, head = (1, previous) if attends is None else (attends, 0)
    where = _unit(_POSITION, N_POSITIONS)
    query = torch.zeros(_FEATURES, _D_HEAD)
    query[_POSITION] = torch.eye(N_POSITIONS).roll(-back, 1)  # position i asks for i − back
    query[_POSITION][:back] = 0  # the first ones have none to ask for
    value = torch.zeros(_FEATURES, _D_HEAD)
    value[_WORD, :N_TOKENS] = torch.eye(N_TOKENS)
    _write(core.h[0].attn, head, query, where.T, value, _BEFORE, n_features=2)
    if attends is None:
        query = torch.zeros(_FEATURES, _D_HEAD)
        query[_WORD, :N_TOKENS] = torch.eye(N_TOKENS)
        key = torch.zeros(_FEATURES, _D_HEAD)
        key[_BEFORE, :N_TOKENS] = torch.eye(N_TOKENS)
        # nothing stands before the first token: the head of block 0 saw the token itself there
        key[_POSITION][0, :N_TOKENS] = -1
        _write(core.h[1].attn, induct, query, key, value, _SAID, n_features=3)
    module.lm_head.weight.copy_(_paired(_unit(_SAID, N_TOKENS)))
    return module


def opened(*, attends=None):
    """Return the model, opened."""
    name = "induction by hand" if attends is None else f"{attends} back by hand"
    return nb.Model.open(induction(attends=attends), tokenizer=tokenizer(), name=name, device="cpu")


def tokenizer():
    """Return its tokenizer: each word of two letters, with the space before it, is a token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*WORDS, "<end>"])}, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(" [a-z]+"), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>", bos_token="<end>")


def _unit(where, n):
    """One feature for each of n things: ``[n, n_features]``."""
    features = torch.zeros(n, _FEATURES)
    features[:, where] = torch.eye(n)
    return features


def _paired(features):
    return torch.cat([features, -features], dim=1)


def _write(attention, head, query, key, value, to, n_features):
    """Set a head's weights, given as ``[n_features, d_head]``, so that a match scores `SHARPNESS`.

    `n_features` is how many features a token has on when the head reads it: layer norm makes each √(n_features of all / that
    many) large.
    """
    width = N_HEADS * _D_HEAD
    size = (_FEATURES / n_features) ** 0.5
    at = slice(head * _D_HEAD, (head + 1) * _D_HEAD)
    # a pair reads x − (−x) = 2x
    gain = (SHARPNESS * _D_HEAD**0.5) ** 0.5 / (2 * size)
    weight = attention.c_attn.weight
    for part, given in enumerate((gain * query, gain * key, value / (2 * size))):
        weight[:, part * width : (part + 1) * width][:, at] = _paired(given.T).T
    out = torch.zeros(_D_HEAD, _FEATURES)
    out[:N_TOKENS, to] = torch.eye(N_TOKENS)
    attention.c_proj.weight[at] = _paired(out)
