"""What each token says: equal to what the tokenizer itself decodes, one token at a time."""

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from nbinterp.demo import models as demo_models
from nbinterp.engine.tokenizing import token_texts

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["▁", "e", "t", "h", "▁t", "▁th", "he", "▁the", "é", "▁▁", "\n", ".", "▁.", "▁n't", "Ġ", "😀"]


def fast(model, decoder, kind=PreTrainedTokenizerFast, **more):
    own = tokenizers.Tokenizer(model)
    own.decoder = decoder
    return kind(tokenizer_object=own, **SPECIAL, **more)


def llama():
    """BPE over ▁ with a piece for every byte, as Llama 2 and Mistral have it."""
    pieces = [*SPECIAL.values(), *BYTES, *PIECES]
    model = models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer = fast(model, decoders.Sequence(parts))
    tokenizer.add_tokens(["<|user|>", " added ", "▁added"])
    return tokenizer


def unigram():
    """Pieces with their likelihoods, as T5 and XGLM have them."""
    model = models.Unigram([(piece, -float(i)) for i, piece in enumerate([*SPECIAL.values(), *PIECES])], unk_id=0)
    tokenizer = fast(model, decoders.Metaspace())
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def wordpiece(**more):
    pieces = [*SPECIAL.values(), "the", "##re", ".", "n't", " n't", "do not", " 's"]
    model = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>")
    return fast(model, decoders.WordPiece(cleanup=False), **more)


class Spaced(PreTrainedTokenizerFast):
    """A tokenizer that decodes in a way of its own, as that of CPM does."""

    def _decode(self, *args, **kwargs):
        return super()._decode(*args, **kwargs).replace("e", " ")


TOKENIZERS = {
    "all tokens": lambda: AutoTokenizer.from_pretrained(demo_models.directory("smollm2-135m")),
    "llama": llama,
    "unigram": unigram,
    "wordpiece": wordpiece,
    "cleaned up": lambda: wordpiece(clean_up_tokenization_spaces=True),
    "its own": lambda: wordpiece(kind=Spaced),
}


@pytest.mark.parametrize("name", ["few tokens", *TOKENIZERS])
def test_each_token_says_what_is_decoded_of_it_alone(name, tokenizer):
    own = tokenizer if name == "few tokens" else TOKENIZERS[name]()
    n = len(own)
    wanted = []
    for i in range(n):
        text = own.decode([i])
        # SentencePiece drops the leading space of what is decoded alone
        wanted.append(" " + text if own.convert_ids_to_tokens(i).startswith("▁") and text[:1] != " " else text)
    assert token_texts(own, n) == tuple(wanted)
    assert token_texts(own, n - 2) == tuple(wanted[:-2])
    assert token_texts(own, n + 2) == (*wanted, f"<unused {n}>", f"<unused {n + 1}>")


@pytest.mark.parametrize("own", [llama(), unigram()])
def test_a_piece_that_begins_a_word_keeps_its_space(own):
    texts = token_texts(own, len(own))
    assert [texts[own.convert_tokens_to_ids(piece)] for piece in ("▁the", "he", "▁.", ".")] == [" the", "he", " .", "."]


def test_what_a_tokenizer_does_of_its_own_is_kept():
    assert " n't" in token_texts(wordpiece(), 10)
    assert " n't" not in token_texts(wordpiece(clean_up_tokenization_spaces=True), 10)
    assert "th " in token_texts(wordpiece(kind=Spaced), 10)
