import re

import numpy as np
import pandas as pd
import pytest

from nbinterp.clouds import Cloud
from nbinterp.geometry.encoding import encoding_map
from nbinterp.geometry.preparation import prepare
from tests.geometry import planted

N_GROUPS, N, D = 20, 12, 48
FRAME = planted.frame_of(D, 12)
FIRST, SECOND = "resid_post.0", "resid_post.1"


def planted_cloud(seed=0):
    """Return attributes of each kind at the first site, none of them at the second."""
    rng = np.random.default_rng(seed)
    n = N_GROUPS * N
    group, slot = np.repeat(np.arange(N_GROUPS), N), np.tile(np.arange(N), N_GROUPS)
    table = pd.DataFrame(
        {
            "template": group,
            "month": [planted.MONTHS[i] for i in slot],
            "sign": rng.integers(2, size=n),
            "age": rng.integers(N, size=n),
            "height": rng.normal(size=n),
            "colour": rng.choice(["red", "green", "blue", "white"], n),
            "nothing": rng.integers(3, size=n),
        }
    )
    corners = pd.DataFrame({"x": [1, -1, 1, -1], "y": [1, 1, -1, -1]}, index=["red", "green", "blue", "white"]).loc[
        table["colour"]
    ]
    rows = (
        planted.circle(N, 2.0)[slot] @ FRAME[:2]
        + 3 * np.outer(table["sign"], FRAME[2])
        + planted.arc(N, 150, 3.0)[table["age"]] @ FRAME[3:5]
        + 1.5 * np.outer(table["height"], FRAME[5])
        + 2 * corners.to_numpy() @ FRAME[6:8]
    )
    rows = rows + 0.3 * rng.normal(size=(n, D)) + rng.normal(size=(N_GROUPS, D))[group]
    return Cloud.from_arrays({FIRST: rows, SECOND: rng.normal(size=(n, D))}, table, planted.info(D))


@pytest.fixture(scope="module")
def found():
    attributes = ["month", "sign", "age", "height", "colour", "nothing"]
    return encoding_map(
        planted_cloud(),
        attributes,
        kinds={"month": "cyclic", "age": "regression"},
        orders={"month": planted.MONTHS},
        within="template",
        alpha=0.05,
        n_permutations=199,
    )


@pytest.mark.parametrize(
    ("attribute", "place"),
    [
        ("month", "curved"),
        ("sign", "linear"),
        ("age", "curved"),
        ("height", "linear"),
        ("colour", "multi-dimensional"),
        ("nothing", "not there"),
    ],
)
def test_each_kind_of_attribute_gets_its_place(found, attribute, place):
    places = found.frame().set_index(["attribute", "site"])["place"]
    assert places[attribute, FIRST] == place, found.frame().set_index(["attribute", "site"])["reasons"][
        attribute, FIRST
    ]
    assert places[attribute, SECOND] == "not there"


def test_shapes_say_what_decided(found):
    shapes = found.frame().set_index(["attribute", "site"])["shape"]
    names = ["month", "sign", "age", "colour", "nothing"]
    expected = ["circle", "one direction", "bent line", "several directions", "nothing"]
    assert [shapes[name, FIRST] for name in names] == expected


def test_dimensions_of_the_means_are_those_planted(found):
    dimensions = found.frame().set_index(["attribute", "site"])["dimensions"]
    assert dimensions["month", FIRST] == 2
    assert dimensions["sign", FIRST] == 1
    assert dimensions["age", FIRST] == 2
    assert dimensions["height", FIRST] == 1
    assert dimensions["colour", FIRST] == 2


def test_the_map_says_how_it_was_made(found):
    assert (
        "240 rows; centred within template; 5 folds; 50 principal components of each training fold; 199 exchanges of labels; 12 looks"
        in repr(found)
    )
    assert "month: curved at 1, not there at 1; read best at resid_post.0" in repr(found)
    frame = found.frame()
    assert frame["reasons"].str.len().min() > 20
    assert (frame["gain_low"] <= frame["gain"]).all()
    assert (frame["gain"] <= frame["gain_high"]).all()


def test_exclusive_or_is_curved():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], size=(300, 2))
    rows = 2 * signs @ planted.frame_of(8, 2) + 0.4 * rng.normal(size=(300, 8))
    found = encoding_map({"a": rows}, {"same": signs.prod(axis=1) > 0}, n_permutations=99).frame().iloc[0]
    assert (found["place"], found["shape"]) == ("curved", "nonlinear")
    assert found["p_linear"] > 0.01
    assert found["p"] <= 0.01


def test_labels_in_a_circle_without_an_order_are_multi_dimensional():
    cloud = planted.months()
    found = encoding_map({"a": cloud}, ["month"], within="template", n_permutations=99).frame().iloc[0]
    assert found["place"] == "multi-dimensional"


def test_ordered_labels_apart_in_no_order_are_multi_dimensional():
    rows, labels, groups = planted.labelled(planted.frame_of(12, 12) * 3)
    found = (
        encoding_map({"a": rows}, {"rank": labels}, kinds={"rank": "regression"}, within=groups, n_permutations=99)
        .frame()
        .iloc[0]
    )
    assert found["place"] == "multi-dimensional"
    assert "do not follow the order" in found["reasons"]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_labels_along_a_line_are_linear(kind):
    rows, labels, groups = planted.labelled(np.column_stack([np.linspace(-3, 3, 8), np.zeros(8)]))
    found = (
        encoding_map({"a": rows}, {"rank": labels}, kinds={"rank": kind}, within=groups, n_permutations=99)
        .frame()
        .iloc[0]
    )
    assert found["place"] == "linear", found["reasons"]
    assert found["dimensions"] == 1


def test_nothing_is_there_in_exchanged_labels():
    cloud = planted_cloud()
    rng = np.random.default_rng(1)
    values = {f"random {i}": rng.permutation(cloud.table["colour"]) for i in range(3)}
    assert set(encoding_map(cloud, values, alpha=0.05, n_permutations=99).frame()["place"]) == {"not there"}


def test_rows_set_aside_at_one_site_are_left_out_at_all():
    rows, labels, groups = planted.labelled(planted.circle(12))
    wild = rows.copy()
    wild[3] *= 100
    found = encoding_map({"a": rows, "b": prepare(wild)}, {"month": labels}, within=groups, n_permutations=99)
    assert found.n_set_aside == 1
    assert found.n_rows == 179


def test_some_sites_can_be_chosen():
    found = encoding_map(planted_cloud(), ["sign"], sites=[FIRST])
    assert found.frame()["site"].tolist() == [FIRST]


@pytest.mark.parametrize(
    ("attributes", "options", "error", "message"),
    [
        ([], {}, ValueError, "got attributes=[]; wanted at least one, each once."),
        (
            ["sign"],
            {"sites": ["resid_post.9"]},
            LookupError,
            "got the site 'resid_post.9', which is not there; known are resid_post.0, resid_post.1.",
        ),
        (
            ["sign"],
            {"kinds": {"sing": "cyclic"}},
            LookupError,
            "got kinds of 'sing', which is not among attributes: sign.",
        ),
        (
            ["sign", "age"],
            {"n_permutations": 99},
            ValueError,
            "got n_permutations=99, which cannot reach p ≤ 0.01 after 2 looks; wanted at least 199.",
        ),
        (["sing"], {}, LookupError, "got attributes='sing', which is no column of the table"),
    ],
)
def test_bad_requests_get_one_sentence(attributes, options, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        encoding_map(planted_cloud(), attributes, **options)


def test_different_rows_are_refused():
    with pytest.raises(ValueError, match="^got 20 rows at b and 30 at the first site; wanted the same.$"):
        encoding_map({"a": np.eye(30), "b": np.eye(30)[:20]}, {"x": np.arange(30) % 2})


@pytest.mark.parametrize("prepared", [False, True])
def test_what_rows_were_centred_within_is_refused(prepared):
    cloud = planted_cloud()
    sites = {FIRST: cloud[FIRST]}
    options = {"within": "template"}
    if prepared:
        sites, options = {FIRST: prepare(cloud[FIRST], within="template")}, {}
    message = "got the attribute 'template': rows were centred within it, so that its values have no means left to tell apart; leave it out"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        encoding_map(sites, ["sign", "template"], n_permutations=199, **options)
    tense = {"tense": cloud.table["template"] % 2}
    with pytest.raises(
        ValueError, match="^got the attribute 'tense': it has one value in each of template, within which"
    ):
        encoding_map(sites, tense, n_permutations=99, **options)
    # without centring there is something to ask about
    assert len(encoding_map({FIRST: cloud[FIRST]}, tense, groups="template", n_permutations=99).frame()) == 1
