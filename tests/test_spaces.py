import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbinterp.anatomy import ModelInfo
from nbinterp.sites import Site
from nbinterp.spaces import Activations, Basis, Direction, Loop, Plane, subspace_from_json, subspace_to_json

OTHER = ModelInfo("other", "xyz", "LlamaForCausalLM", n_layers=4, d_model=3, n_vocab=10, blocks="model.layers")
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


def random_loop(info, seed=0, harmonics=2, d=64):
    rng = np.random.default_rng(seed)
    return Loop("resid_post.1", None, rng.normal(size=d), *rng.normal(size=(2, harmonics, d)))


HEADS = ModelInfo("heads", "abc", "X", 4, 32, 100, "b", n_heads=4, n_kv_heads=2, d_head=8, d_mlp=64)


@st.composite
def subspaces(draw, site=None, d=3):
    """A subspace of any kind, of d features."""
    vector = draw(arrays(np.float64, d, elements=numbers))
    rows = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 9))).normal(size=(d, d)))[0]
    harmonics = draw(arrays(np.float64, st.tuples(st.just(2), st.integers(1, 3), st.just(d)), elements=numbers))
    tokens = draw(arrays(np.float64, st.tuples(st.integers(1, 3), st.just(d)), elements=numbers))
    return draw(
        st.sampled_from(
            [
                Direction(site, None, vector),
                Plane(site, None, vector, rows[:2]),
                Basis(site, None, vector, rows[: draw(st.integers(1, d))]),
                Loop(site, None, vector, *harmonics),
                Activations(site, None, tokens),
            ]
        )
    )


@given(subspaces())
def test_json_gives_the_same_value_back(value):
    again = subspace_from_json(json.loads(json.dumps(subspace_to_json(value))))
    assert again == value
    assert hash(again) == hash(value)
    assert type(again) is type(value)


def test_json_keeps_the_place_and_not_where_the_weights_lie():
    info = ModelInfo("toy", "abc", "X", n_layers=4, d_model=3, n_vocab=10, blocks="b", source="/somewhere")
    direction = Direction("resid_post.1", info, [1, 2, 3])
    again = subspace_from_json(subspace_to_json(direction))
    assert again == direction
    assert again.model.source == "", "where the weights lie is this machine's affair"


@pytest.mark.parametrize(
    ("site", "width"),
    [("z.3.3", 8), ("z.3", 32), ("q.2", 32), ("k.2", 16), ("v.2.1", 8), ("mlp_post.3", 64), ("logits", 100)],
)
def test_a_site_has_its_own_number_of_features(site, width):
    assert Direction(site, HEADS, np.ones(width)).n_features == width
    with pytest.raises(
        ValueError, match=rf"^got a Direction with {width + 1} features at {site}; heads has {width} there\.$"
    ):
        Direction(site, HEADS, np.ones(width + 1))


@pytest.mark.parametrize("site", [None, "pattern.1", "model.layers.3.mlp.act_fn"])
def test_where_the_number_of_features_is_not_known_it_is_not_checked(site):
    assert Direction(site, HEADS, np.ones(7)).n_features == 7


def test_the_stream_after_a_block_is_the_stream_before_the_next():
    direction = Direction("resid_post.1", HEADS, np.ones(32))
    direction.require(Site.of("resid_pre.2"), HEADS)
    Direction("resid_pre.2", HEADS, np.ones(32)).require(Site.of("resid_post.1"), HEADS)
    for other in ("resid_pre.1", "resid_mid.1", "resid_post.2"):
        with pytest.raises(ValueError, match=f"^got a Direction found at resid_post.1, used at {other}: "):
            direction.require(Site.of(other), HEADS)
    with pytest.raises(ValueError, match="^got a Direction found at embed, used at resid_pre.0: "):
        Direction("embed", None, np.ones(3)).require(Site.of("resid_pre.0"))


def test_values_are_frozen(info):
    vector = np.ones(3)
    direction = Direction("resid_post.1", info, vector)
    vector[0] = 5
    assert direction.vector[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        direction.vector[0] = 2


def test_directions_add_only_in_one_space(info):
    a = Direction("resid_post.1", info, [1, 0, 0])
    assert (2 * a - a).vector.tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="^got") as caught:
        a + Direction("resid_post.2", info, [1, 0, 0])
    assert (
        str(caught.value)
        == "got a Direction found at resid_post.2, used at resid_post.1: find one there, or say that you mean it with .at('resid_post.1')."
    )
    assert (a + Direction("resid_post.2", info, [1, 0, 0]).at("resid_post.1")).norm == 2
    with pytest.raises(ValueError, match="^got") as caught:
        a + Direction("resid_post.1", OTHER, [1, 0, 0])
    assert (
        str(caught.value)
        == "got a Direction of the model other@xyz, used on toy@abc: find one in the model that you run."
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda i: Direction("resid_post.1", i, [1, 2]),
            "got a Direction with 2 features at resid_post.1; toy has 3 there.",
        ),
        (
            lambda i: Direction("resid_post.1", i, [[1, 2, 3]]),
            "got a Direction's vector of shape [1, 3]; wanted [n_features].",
        ),
        (
            lambda i: Direction("resid_post.1", i, [1, np.nan, np.inf]),
            "got a Direction's vector with 2 NaN or infinite entries; wanted finite numbers: drop or mend them first.",
        ),
        (
            lambda i: Plane("resid_post.1", i, np.zeros(3), [[1, 0, 0], [1, 0, 0]]),
            "got a Plane whose basis is not two orthonormal rows; orthonormalise them, for example with numpy.linalg.qr.",
        ),
        (
            lambda i: Basis("resid_post.1", i, np.zeros(3), 2 * np.eye(3)),
            "got a Basis whose rows are not orthonormal, or which has none; orthonormalise them, for example with numpy.linalg.qr.",
        ),
        (
            lambda i: Basis("resid_post.1", i, np.zeros(3), np.zeros((0, 3))),
            "got a Basis whose rows are not orthonormal, or which has none; orthonormalise them, for example with numpy.linalg.qr.",
        ),
        (
            lambda i: Direction("resid_post.1", i, np.zeros(3)).unit,
            "got a Direction of length 0, which points nowhere; wanted one with an entry other than 0.",
        ),
        (
            lambda i: Activations("resid_post.1", i, np.zeros((0, 3))),
            "got Activations of shape [0, 3]; wanted at least one token and feature.",
        ),
        (
            lambda i: Loop("resid_post.1", i, np.zeros(3), np.ones((1, 3)), np.ones((2, 3))),
            "got a Loop with 1 cosine and 2 sine harmonics; wanted the same number, at least one.",
        ),
        (
            lambda i: Loop("resid_post.1", None, np.zeros(3), np.ones((1, 3)), np.ones((1, 4))),
            "got a Loop whose arrays differ in their number of features: {'centre': 3, 'cosines': 3, 'sines': 4}.",
        ),
    ],
)
def test_what_is_no_vector_of_this_space_is_refused(info, make, message):
    with pytest.raises(ValueError, match="^got") as caught:
        make(info)
    assert str(caught.value) == message


@given(st.floats(0, 6.28), st.floats(0, 6.28), st.integers(1, 4))
def test_a_control_takes_steps_of_the_same_length(start, stop, harmonics):
    loop = random_loop(None, harmonics=harmonics)
    control = loop.control(seed=3)
    np.testing.assert_allclose(
        np.linalg.norm(control.displacement(start, stop)),
        np.linalg.norm(loop.displacement(start, stop)),
        rtol=1e-9,
        atol=1e-9,
    )


def test_a_control_has_little_to_do_with_the_loop():
    loop = random_loop(None, d=512)
    a, b = loop.displacement(0, 2), loop.control(seed=1).displacement(0, 2)
    assert abs(a @ b) / (a @ a) < 0.2
    assert loop.control(1) == loop.control(1) != loop.control(2)


def test_a_loop_finds_the_angle_of_its_own_points():
    loop = random_loop(None)
    for angle in np.linspace(0, 6, 7):
        assert loop.angle_of(loop.decode(angle)[0]) == pytest.approx(angle, abs=2 * np.pi / 3600)


def test_turning_in_a_plane_turns_the_projection_and_nothing_else():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(8, 2)))[0].T
    plane = Plane("resid_post.1", None, rng.normal(size=8), basis)
    point = rng.normal(size=8)
    start = plane.angle_of(point)
    moved = point + plane.displacement(start, start + 1.0, point)
    assert plane.angle_of(moved) == pytest.approx((start + 1.0) % (2 * np.pi))
    np.testing.assert_allclose(
        np.linalg.norm(plane.coordinates(moved[None])), np.linalg.norm(plane.coordinates(point[None]))
    )
    np.testing.assert_allclose((moved - point) - (moved - point) @ basis.T @ basis, 0, atol=1e-12)


def test_an_unknown_kind_is_refused():
    with pytest.raises(
        ValueError, match="got a subspace of kind 'torus'; known are direction, plane, basis, loop, activations."
    ):
        subspace_from_json({"kind": "torus"})


def test_a_basis_has_coordinates_and_a_random_control():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(512, 3)))[0].T
    basis = Basis("resid_post.1", None, rng.normal(size=512), frame)
    weights = rng.normal(size=(5, 3))
    np.testing.assert_allclose(basis.coordinates(basis.centre + weights @ frame), weights, atol=1e-12)
    control = basis.control(seed=1)
    assert control == basis.control(seed=1) != basis.control(seed=2)
    assert (control.site, control.basis.shape) == (basis.site, (3, 512))
    np.testing.assert_array_equal(control.centre, basis.centre)
    # two random subspaces of 3 of 512 dimensions share 3 · 3/512 of their variance on average
    assert np.square(control.basis @ frame.T).sum() < 0.2


@given(arrays(np.float64, 4, elements=st.floats(-1e3, 1e3).filter(lambda v: abs(v) > 1e-3)))
def test_a_unit_direction_points_the_same_way(vector):
    direction = Direction("resid_post.1", None, vector)
    assert direction.unit.norm == pytest.approx(1)
    np.testing.assert_allclose(direction.unit.vector * direction.norm, vector)
