import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nbinterp.spaces import Direction, Loop, ModelInfo, Plane, subspace_from_json, subspace_to_json

OTHER = ModelInfo("other", "xyz", "LlamaForCausalLM", n_layers=4, d_model=3, n_vocab=10, blocks="model.layers")
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


def random_loop(info, seed=0, harmonics=2, d=64):
    rng = np.random.default_rng(seed)
    return Loop("resid_post.1", None, rng.normal(size=d), *rng.normal(size=(2, harmonics, d)))


@given(arrays(np.float64, 3, elements=numbers))
def test_json_gives_the_same_value_back(vector):
    info = ModelInfo("toy", "abc", "X", n_layers=4, d_model=3, n_vocab=10, blocks="b", source="/somewhere")
    direction = Direction("resid_post.1", info, vector)
    again = subspace_from_json(subspace_to_json(direction))
    assert again == direction
    assert hash(again) == hash(direction)
    assert again.model.source == "", "where the weights lie is this machine's affair"


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
            "got a Direction's vector of shape [1, 3]; wanted [d_model].",
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
    with pytest.raises(ValueError, match="got a subspace of kind 'torus'; known are direction, plane, loop."):
        subspace_from_json({"kind": "torus"})
