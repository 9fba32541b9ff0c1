import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.charts.linked import BRUSH_PCA, PICK_CLASS


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = np.c_[np.cos(angles), np.sin(angles)] @ rng.normal(size=(2, 16)) + 0.05 * rng.normal(size=(90, 16))
    info = ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=16, n_vocab=10, blocks="model.layers")
    table = pd.DataFrame(
        {"hour": [f"{i // 15}" for i in range(90)], "wicked": ["</script><img src=x onerror=alert(1)>"] * 90}
    )
    return nb.Cloud.from_arrays({"resid_post.1": points, "resid_post.2": points}, table, info)


@pytest.fixture(scope="module")
def atlas(cloud):
    return nb.Atlas(cloud["resid_post.1"], by="hour", cyclic=True)


def test_nothing_selected_is_everything(atlas):
    assert atlas.selection == tuple(range(90))
    assert atlas.loops.verdict == "a loop"
    assert "homology says a loop" in atlas.description


def test_a_brush_reaches_python_as_rows_and_as_a_cloud(atlas):
    seen = []
    atlas.observe(lambda change: seen.append(change.new), names="selection")
    right = float(atlas.rows["pc1"].quantile(0.75))
    atlas.selections = {BRUSH_PCA: {"pc1": [right, 1e9]}}
    wanted = atlas.rows.loc[atlas.rows["pc1"] >= right, "row"].tolist()
    assert list(atlas.selection) == wanted
    assert seen == [tuple(wanted)]
    assert atlas.selected.table["hour"].tolist() == atlas.rows.loc[atlas.rows["pc1"] >= right, "hour"].tolist()
    atlas.selections = {}
    assert len(atlas.selection) == 90


def test_a_loop_that_is_picked_gives_its_rows(atlas):
    loops = atlas._members["class_id"].unique()
    atlas.selections = {PICK_CLASS: [{"class_id": loops[0]}]}
    assert set(atlas.selection) == set(atlas._members.loc[atlas._members["class_id"] == loops[0], "row"])
    atlas.selections = {}


def test_the_users_text_is_data(atlas):
    data, _ = atlas._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    assert "<img src=x" not in data["text/html"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda c: nb.Atlas(c["resid_post.1"], by="day"),
            LookupError,
            r"^got by='day', which is not a column of the cloud's table; choose from 'text', ",
        ),
        (lambda c: nb.Atlas(c, by="hour"), ValueError, r"^got "),
        (lambda c: nb.Atlas(c["resid_post.1"].select([0, 1, 2]), by="hour"), ValueError, r"^got "),
    ],
)
def test_what_no_atlas_can_show_is_refused(cloud, make, error, message):
    with pytest.raises(error, match=message):
        make(cloud)
