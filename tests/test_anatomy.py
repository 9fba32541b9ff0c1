"""What a model's card says of its sites."""

import pytest

from nbinterp import Site
from nbinterp.anatomy import Anatomy, ModelInfo, Place
from nbinterp.sites import COMPONENTS, UNLAYERED

ANATOMY = Anatomy(
    {"model.embed.output": 16},
    dict.fromkeys(("input", "attn.q.output", "attn.o.input", "attn.o.output", "mlp.input", "mlp.output", "output"), 16),
    {"norm.input": 16, "norm.output": 16, "output": 50},
    {
        "embed": Place("model.embed", "output"),
        "resid_pre": Place("", "input"),
        "q": Place("attn.q", "output", 4),
        "k": Place("attn.q", "output", 2),
        "pattern": Place("attn.source.softmax_0", "output", 4),
        "z": Place("attn.o", "input", 4),
        "attn_out": Place("attn.o", "output"),
        "resid_post": Place("", "output"),
        "logits": Place("", "output"),
    },
    {"resid_mid": "attention and MLP read the same residual stream here"},
)
INFO = ModelInfo("toy", "abc", "Toy", 3, 16, 50, "model.layers", 4, 2, 4, 64, anatomy=ANATOMY)


def test_sites_stand_in_forward_order():
    texts = [
        "embed", "resid_pre.0", "q.0", "pattern.0", "z.0", "attn_out.0", "model.layers.0.mlp:input", "model.layers.0.mlp",
        "resid_post.0", "resid_pre.1", "z.1.3", "resid_post.2", "norm:input", "norm", "logits",
    ]  # fmt: skip
    positions = [INFO.position(Site.of(text)) for text in texts]
    assert positions == sorted(positions)
    assert len(set(positions)) == len(positions)
    assert (positions[0][0], positions[-1][0]) == (-1, 3)


def test_a_site_is_an_end_of_a_module():
    assert INFO.event(Site.of("z.2.1")) == ("model.layers.2.attn.o", "input")
    assert INFO.event(Site.of("resid_post.1")) == ("model.layers.1", "output")
    assert INFO.event(Site.of("logits")) == ("", "output")
    assert INFO.event(Site.of("model.layers.0.mlp:input")) == ("model.layers.0.mlp", "input")


@pytest.mark.parametrize(
    ("site", "width"),
    [
        ("resid_post.1", 16),
        ("q.0", 16),
        ("q.0.1", 4),
        ("k.0", 8),
        ("z.0.3", 4),
        ("mlp_post.0", 64),
        ("logits", 50),
        ("pattern.0", None),
        ("norm", 16),
        ("model.layers.1.mlp:input", 16),
    ],
)
def test_widths_count_all_heads_where_none_is_chosen(site, width):
    assert INFO.width(Site.of(site)) == width


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("resid_post.3", "got layer 3 in 'resid_post.3'; toy has 3 layers: choose 0 to 2"),
        ("q.0.4", "got head 4 in 'q.0.4'; toy has 4 there: choose 0 to 3"),
        ("k.0.2", "got head 2 in 'k.0.2'; toy has 2 there, each shared by 2 query heads: choose 0 to 1"),
        (
            "resid_mid.0",
            r"got 'resid_mid.0', which toy \(Toy\) does not have: attention and MLP read the same residual stream here",
        ),
        (
            "model.layers.0.mpl",
            "got the site 'model.layers.0.mpl', which is neither a component .* nor the path of a module that toy calls",
        ),
        ("model.layers.7.mlp", "got the site 'model.layers.7.mlp', which is neither"),
        ("nrom", "that toy calls; did you mean 'norm'"),
        ("resid_pots", "that toy calls; did you mean 'resid_post'"),
    ],
)
def test_what_is_not_there_is_refused(site, message):
    with pytest.raises(ValueError, match=message):
        INFO.check(Site.of(site))


def test_a_card_travels_without_its_anatomy():
    again = ModelInfo(**INFO.to_json())
    assert again == INFO
    assert again.anatomy is None
    assert again.width(Site.of("z.0.3")) == 4
    again.check(Site.of("resid_mid.1"))


def test_a_model_lists_its_sites(small):
    frame = small.sites().set_index("component")
    assert list(frame.index) == list(COMPONENTS)
    for component, line in frame.iterrows():
        assert bool(line["lacking"]) == (component not in small.info.anatomy.places)
        if not line["lacking"] and component not in UNLAYERED:
            assert line["module"].startswith(f"{small.info.blocks}.{{}}")
    assert frame.loc["k", "n_heads"] == small.info.n_kv_heads
    assert frame.loc["z", "n_features"] == small.info.n_heads * small.info.d_head
