import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp.sites import COMPONENTS, HEADED, UNLAYERED, Site

layers = st.integers(0, 200)
sites = st.one_of(
    st.sampled_from(sorted(UNLAYERED)).map(Site),
    st.builds(Site, st.sampled_from(sorted(set(COMPONENTS) - UNLAYERED)), layers),
    st.builds(Site, st.sampled_from(sorted(HEADED)), layers, layers),
    st.sampled_from(["model.layers.3.mlp", "model.norm:input", "transformer.h.0.attn.c_attn"]).map(Site),
)


@given(sites)
def test_a_site_reads_its_own_text(site):
    assert Site.of(str(site)) == site
    assert hash(Site.of(str(site))) == hash(site)
    assert Site.of(site) is site
    assert repr(site) == f"Site('{site}')"


def test_a_text_is_taken_apart():
    assert Site.of("z.3.5") == Site("z", layer=3, head=5)
    assert Site.of("logits") == Site("logits")
    assert Site.of("model.layers.3.mlp:input").is_path
    assert not Site.of("resid_post.3").is_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resid_post", "got the site 'resid_post'; wanted 'resid_post.<layer>', for example 'resid_post.10'."),
        ("logits.3", "got the site 'logits.3'; wanted 'logits'."),
        (
            "resid_post.1.2",
            "got a head in the site 'resid_post.1.2'; heads have q, k, v, pattern, z.",
        ),
        (
            "resid post",
            "got the unknown site 'resid post'; known components are embed, resid_pre, q, k, v, pattern, z, attn_out, resid_mid, "
            "mlp_post, mlp_out, resid_post, logits: write for example 'resid_post.10', 'z.3.5', or a module's path such as "
            "'model.layers.3.mlp'.",
        ),
    ],
)
def test_an_unknown_site_is_refused(text, message):
    with pytest.raises(ValueError, match="^got") as caught:
        Site.of(text)
    assert str(caught.value) == message


def test_numbers_below_zero_are_refused():
    with pytest.raises(ValueError, match="^got layer -1 in a site; layers count from 0: write for example 'z.0'.$"):
        Site("z", -1)
    with pytest.raises(ValueError, match="^got head -2 in a site; heads count from 0: write for example 'z.0'.$"):
        Site("z", 1, -2)


def test_what_is_no_site_is_refused():
    with pytest.raises(TypeError, match=r"^got a site of type int; wanted text such as 'resid_post\.10' or a Site\.$"):
        Site.of(3)
