"""The atlas on planted clouds: pictures, shapes, selections, and what they are made into. No model."""

import threading
import time

import numpy as np
import pandas as pd
import pytest
import traitlets

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.widgets.atlas import layouts
from nbinterp.widgets.selection import to_page

INFO = ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=16, n_vocab=10, blocks="model.layers")
WICKED = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def cloud():
    """A circle of 90 rows at three layers, turned a little from one to the next."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    frame = np.linalg.qr(rng.normal(size=(16, 2)))[0].T
    sites = {
        f"resid_post.{layer}": 5 * np.c_[np.cos(angles + layer / 3), np.sin(angles + layer / 3)] @ frame
        + 0.1 * rng.normal(size=(90, 16))
        for layer in (1, 2, 3)
    }
    table = pd.DataFrame(
        {
            "hour": [f"{i // 10}" for i in range(90)],
            "wicked": [WICKED] * 90,
            "size": np.r_[np.nan, np.arange(89.0)],
            "half": ["Left"] * 45 + ["Right"] * 45,
        }
    )
    return nb.Cloud.from_arrays(sites, table, INFO)


@pytest.fixture(scope="module")
def shared(cloud):
    """One atlas for the tests that leave it as it was."""
    atlas = nb.Atlas(cloud, by="hour", cyclic=True)
    atlas.wait()
    yield atlas
    atlas.close()


@pytest.fixture
def atlas(cloud):
    opened = nb.Atlas(cloud["resid_post.1"], by="hour")
    yield opened
    opened.close()


def places(atlas):
    positions = atlas.positions
    return np.frombuffer(positions["xy"], dtype="<f4").reshape(len(positions["sites"]), -1, 2)


def ask(atlas, what, **arguments):
    """Ask as the page does; return the reply and the bytes beside it."""
    replies = []
    send, atlas.send = atlas.send, lambda content, buffers=None: replies.append((content, buffers))
    try:
        atlas._handle_custom_msg({"ask": 1, "what": what, **arguments}, [])
    finally:
        atlas.send = send
    return replies[0]


def test_the_first_picture_is_there_at_once(cloud):
    opened = nb.Atlas(cloud, by="hour")
    assert opened.positions["layout"] == "pca"
    assert "of the variance" in opened.positions["note"]
    assert "by chance" in opened.positions["note"]
    opened.close()


def test_all_layers_lie_alike(shared):
    assert shared.positions["sites"] == [0, 1, 2]
    first, second, third = places(shared)
    # turned onto one another: rows move by far less than the circle's radius
    for one, other in ((first, second), (second, third)):
        assert np.linalg.norm(one - other, axis=1).max() < 0.25 * np.linalg.norm(one, axis=1).mean()


def test_a_few_layers_of_a_large_cloud(cloud, monkeypatch):
    monkeypatch.setattr("nbinterp.widgets.atlas.pictures.MOST_AT_ONCE", 100)
    atlas = nb.Atlas(cloud, by="hour")
    atlas.wait()
    assert atlas.positions["sites"] == [0, 1]
    atlas.view = {"site": 2}
    atlas.wait()
    assert atlas.positions["sites"] == [1, 2]
    atlas.close()


def test_the_site_can_be_said_in_python(cloud):
    atlas = nb.Atlas(cloud, by="hour", site="resid_post.2")
    assert (atlas.site, atlas.view["site"], atlas.positions["sites"]) == ("resid_post.2", 1, [1])
    atlas.site = nb.Site("resid_post", 3)
    atlas.wait()
    assert (atlas.site, atlas.shapes["site"]) == ("resid_post.3", 2)
    with pytest.raises(LookupError, match=r"^got site='resid_post.9', at which this cloud was not read; choose from "):
        atlas.site = "resid_post.9"
    assert atlas.site == "resid_post.3"
    atlas.close()
    with pytest.raises(LookupError, match=r"^got site='mlp_out.1', at which this cloud was not read; choose from res"):
        nb.Atlas(cloud, site="mlp_out.1")


def test_the_stored_picture_names_its_axes_at_every_layer(shared):
    for site, title in (
        ("resid_post.1", "first principal component"),
        ("resid_post.3", "first axis of the principal plane"),
    ):
        shared.site = site
        shared.wait()
        spec = shared._picture()[0].to_dict()
        assert spec["layer"][0]["encoding"]["x"]["title"].startswith(title)
        assert spec["layer"][0]["encoding"]["y"]["title"].startswith(title.replace("first", "second"))
    shared.site = "resid_post.1"
    shared.wait()


def test_neighbours_are_found_once_and_a_stop_while_they_are_looked_for_ends_the_wait_at_once(cloud, monkeypatch):
    looked, going_on = [], threading.Event()

    def slow(*given, **settings):
        looked.append(given)
        assert going_on.wait(30)
        return umap_graph(*given, **settings)

    umap_graph = layouts.umap_graph
    monkeypatch.setattr(layouts, "umap_graph", slow)
    monkeypatch.setattr("nbinterp.widgets.atlas.atlas._AT_ONCE", 10)
    atlas = nb.Atlas(cloud["resid_post.1"], by="hour")
    atlas._work["homology"].wait()
    atlas._work["layouts"].wait()
    atlas.positions = None
    atlas._pictures.principal.known.clear()
    tasks = []
    atlas.observe(lambda change: tasks.append(change.new), names="task")
    atlas.view = {"layout": "umap"}
    while not any(tasks):
        time.sleep(0.01)
    # something to see, what runs, and a way out
    assert atlas.positions["layout"] == "pca"
    assert tasks[0]["stoppable"]
    ask(atlas, "stop")
    atlas._work["layouts"].wait()
    assert atlas.task is None
    going_on.set()
    for view in ({"layout": "pca"}, {"layout": "umap"}, {"color": "size"}, {"n_neighbors": 9}, {"min_dist": 0.4}):
        atlas.view = view
        atlas.wait()
    assert atlas.positions["layout"] == "umap"
    assert len(looked) == 1
    # more neighbours than were found at first are found again
    atlas.view = {"n_neighbors": 70}
    atlas.wait()
    assert len(looked) == 2
    assert atlas.problem == ""
    atlas.close()


def test_a_sample_is_laid_out_and_the_others_placed_in_it(cloud, monkeypatch):
    monkeypatch.setattr(layouts, "MOST_ROWS", 60)
    atlas = nb.Atlas(cloud["resid_post.1"], by="hour")
    atlas.wait()
    assert "made of 60 of 90 rows" in atlas.positions["note"]
    (xy,) = places(atlas)
    assert np.isfinite(xy).all()
    # rows that come one after the other on the circle lie beside each other, drawn or placed
    assert np.linalg.norm(np.diff(xy, axis=0), axis=1).max() < 0.2
    atlas.close()


def test_umap_comes_with_its_faithfulness_and_follows_its_sliders(shared):
    shared.view = {"layout": "umap"}
    shared.wait()
    assert shared.positions["sites"] == [0, 1, 2]
    assert "distances between clusters mean nothing" in shared.positions["note"]
    before = places(shared)[0].copy()
    shared.view = {"n_neighbors": 5}
    shared.wait()
    assert not np.array_equal(before, places(shared)[0])
    shared.view = {"n_neighbors": 15}
    shared.wait()
    # what was laid out once is not laid out again
    assert np.array_equal(before, places(shared)[0])
    shared.view = {"layout": "pca"}
    shared.wait()


def test_the_circle_of_cyclic_labels_is_a_layout_with_its_test(shared):
    shared.view = {"layout": "circular"}
    shared.wait()
    assert shared.positions["note"].startswith("plane of the circle of hour: a circle (order p = 0.000")
    radii = np.linalg.norm(places(shared)[0], axis=1)
    assert radii.mean() == pytest.approx(1, abs=0.1)
    shared.view = {"layout": "pca"}
    shared.wait()


def test_circular_coordinates_go_round_once_and_can_be_coloured_by(atlas):
    atlas.view = {"layout": "circular"}
    atlas.wait()
    assert "a loop (p = 0.005)" in atlas.positions["note"]
    (xy,) = places(atlas)
    steps = np.angle(np.exp(1j * np.diff(np.arctan2(xy[:, 1], xy[:, 0]))))
    assert abs(steps.sum()) == pytest.approx(2 * np.pi * 89 / 90, abs=0.2)
    angle = atlas.columns[-1]
    assert (angle["name"], angle["cyclic"]) == ("angle round the loop", True)


def test_where_there_is_no_loop_the_layout_says_so():
    rng = np.random.default_rng(1)
    nothing = nb.Cloud.from_arrays({"resid_post.1": rng.normal(size=(60, 16))}, None, INFO)
    atlas = nb.Atlas(nothing)
    atlas.view = {"layout": "circular"}
    atlas.wait()
    assert "not significant: no loop" in atlas.positions["note"]
    assert not atlas.loops.found
    atlas.close()


def test_two_columns_are_places(atlas):
    atlas.view = {"layout": "columns", "x": "size", "y": "prompt"}
    atlas.wait()
    (xy,) = places(atlas)
    assert np.isnan(xy[0, 0])
    assert xy[1:, 0].tolist() == list(range(89))
    assert (atlas.positions["x"], atlas.positions["y"]) == ("size", "prompt")


def test_a_view_that_cannot_be_shown_is_refused_and_one_out_of_bounds_is_brought_in(atlas):
    with pytest.raises(traitlets.TraitError, match=r"^got layout='tsne'; choose pca, umap, circular, columns\.$"):
        atlas.view = {"layout": "tsne"}
    with pytest.raises(
        traitlets.TraitError, match=r"^got x='hour'; choose a column of numbers: size, prompt, position\.$"
    ):
        atlas.view = {"x": "hour"}
    with pytest.raises(traitlets.TraitError, match=r"^got a view with 'zoom'; wanted some of layout, "):
        atlas.view = {"zoom": 3}
    atlas.view = {"site": 7, "n_neighbors": 1000, "min_dist": -1}
    assert (atlas.view["site"], atlas.view["n_neighbors"], atlas.view["min_dist"]) == (0, 89, 0.0)


def test_shapes_name_rows_in_the_order_of_the_walk(shared):
    shapes = shared.shapes
    assert shapes["verdict"].startswith("a loop: p = 0.005 against 199 Gaussian clouds")
    loop = next(one for one in shapes["features"] if one["id"] == "H1.0")
    assert loop["death"] - loop["birth"] > shapes["threshold"]
    steps = np.diff([*loop["rows"], loop["rows"][0]]) % 90
    assert set(np.minimum(steps, 90 - steps)) <= {1, 2, 3}
    assert all(one["death"] <= shapes["end"] for one in shapes["features"])
    assert max(sum(one["dimension"] == d for one in shapes["features"]) for d in (0, 1)) <= 60


def test_many_rows_are_stood_for_by_landmarks(cloud, monkeypatch):
    monkeypatch.setattr("nbinterp.widgets.atlas.shapes.MOST_EXACT", 50)
    monkeypatch.setattr("nbinterp.widgets.atlas.shapes.LANDMARKS", 30)
    monkeypatch.setattr("nbinterp.widgets.atlas.shapes.SAMPLE", 80)
    atlas = nb.Atlas(cloud["resid_post.1"], by="hour")
    assert atlas.loops.verdict == "a loop"
    assert "a sample of 80 of 90 rows; 30 landmarks stand for the rows" in atlas.shapes["note"]
    atlas.close()


def test_each_site_at_which_loops_are_looked_for_is_a_look(cloud):
    atlas = nb.Atlas(cloud, by="hour")
    atlas.wait()
    assert atlas.looks == 1
    atlas.view = {"site": 1}
    atlas.wait()
    assert atlas.looks == 2
    assert atlas.shapes["site"] == 1
    atlas.view = {"site": 0}
    atlas.wait()
    assert (atlas.looks, atlas.shapes["site"]) == (2, 0)
    atlas.close()


def test_claims_are_corrected_for_all_looks_dropped_ones_too(atlas):
    atlas.wait()
    first = atlas.make("direction", rows=np.arange(30))
    assert first.kind == "direction"
    (message,) = atlas.get_state(["claims"])["claims"]
    assert message["p_corrected"] >= message["p"] == first.p
    assert message["site"] == "resid_post.1"
    assert message["n_rows"] == 30
    dropped = atlas.make("circle", rows=np.arange(90), column="hour")
    assert dropped.p <= 0.001
    ask(atlas, "drop", claim=dropped.id)
    kept = atlas.make("circle", name="the loop")
    messages = atlas.get_state(["claims"])["claims"]
    assert [one["name"] for one in messages] == [first.name, "the loop"]
    assert atlas.looks == 4
    wanted = nb.geometry.adjusted([atlas.loops.p, first.p, dropped.p, kept.p])
    assert [one["p_corrected"] for one in messages] == pytest.approx([wanted[1], wanted[3]])
    frame = atlas.claim_frame()
    assert frame["name"].tolist() == [first.name, "the loop"]
    assert frame["p_corrected"].tolist() == pytest.approx([wanted[1], wanted[3]])
    assert atlas.claim("the loop") is kept
    with pytest.raises(LookupError, match=r"^got the claim 'other'; there are "):
        atlas.claim("other")
    atlas.drop(first)
    atlas.drop("the loop")
    assert atlas.claim_frame().empty
    assert atlas.looks == 4


def test_what_a_selection_becomes_lives_at_its_site(atlas):
    atlas.selection = {"rows": np.arange(40)}
    for kind, space in (("direction", nb.Direction), ("plane", nb.Plane), ("circle", nb.Loop)):
        made = atlas.make(kind, column="hour" if kind == "circle" else "")
        assert isinstance(made.space, space)
        assert str(made.space.site) == "resid_post.1"
        assert made.space.model == INFO
        assert made.statement
        assert "does not show" in made.caveat or "not whether the model" in made.caveat
    assert len({one.name for one in atlas.claims}) == 3


def test_a_page_makes_claims_in_the_background(atlas):
    assert ask(atlas, "make", kind="direction", column="", name="") == (
        {
            "reply": 1,
            "problem": "got 0 picked rows to make a direction of; wanted 2 or more: pick some in a picture first.",
        },
        None,
    )
    atlas.selection = {"rows": np.arange(20)}
    assert ask(atlas, "make", kind="direction", column="", name="mine")[0]["problem"] == ""
    assert ask(atlas, "make", kind="plane", column="", name="mine")[0]["problem"] == ""
    atlas.wait()
    assert [(one.kind, one.name) for one in atlas.claims] == [("direction", "mine"), ("plane", "mine (2)")]
    assert atlas.task is None
    steered, _ = ask(atlas, "steer", claim="mine", how="")
    assert steered["problem"].startswith("got no model to ask; open the atlas with the one that the cloud comes from")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"kind": "sphere"}, "got kind='sphere' to make; choose direction, plane, circle."),
        (
            {"kind": "circle", "column": "half"},
            "got 1 labels of 'half' among the picked rows; wanted at least 3 for a circle",
        ),
        ({"kind": "circle", "column": "no"}, "got column='no', which is no column of the table; choose from 'text', "),
    ],
)
def test_what_cannot_be_made_is_said_at_once(atlas, arguments, problem):
    atlas.selection = {"rows": np.arange(20)}
    assert ask(atlas, "make", **arguments)[0]["problem"].startswith(problem)


def test_every_row_picked_makes_no_direction(atlas):
    with pytest.raises(ValueError, match=r"^got every row picked to make a direction of; wanted some left"):
        atlas.make("direction", rows=np.ones(90, dtype=bool))


def test_the_selection_reaches_python_and_nothing_picked_is_everything(atlas):
    assert len(atlas.selected) == 90
    seen = []
    atlas.observe(lambda change: seen.append(change.new.rows.tolist()), names="selection")
    atlas.set_state({"selection": to_page(nb.Selection(rows=[3, 5]))})
    assert seen == [[3, 5]]
    assert atlas.selected.table["prompt"].tolist() == [3, 5]
    assert atlas.selectable == {"rows": 90}
    assert atlas.frame()["picked"].sum() == 2


def test_widgets_share_what_is_picked(cloud, atlas):
    other = nb.Atlas(cloud["resid_post.2"], by="hour")
    nb.link(atlas, other)
    atlas.selection = {"rows": [7]}
    assert other.selection.rows.tolist() == [7]
    other.close()


def test_the_page_reads_the_table(atlas):
    reply, _ = ask(atlas, "table", sort="size", descending=True, picked_only=False, search="", start=0, stop=2)
    assert [fact["row"] for fact in reply["facts"]] == [89, 88]
    assert reply["total"] == 90
    atlas.selection = {"rows": [4, 50, 60]}
    reply, _ = ask(atlas, "table", sort="", descending=False, picked_only=True, search="right", start=0, stop=9)
    assert [fact["row"] for fact in reply["facts"]] == [50, 60]
    reply, _ = ask(atlas, "rows", rows=[0, 90])
    cells = dict(zip(reply["columns"], reply["facts"][0]["cells"], strict=True))
    assert len(reply["facts"]) == 1
    assert (cells["size"], cells["wicked"]) == ("", WICKED)
    reply, (bits,) = ask(atlas, "search", text="LEFT")
    assert reply["count"] == 45
    assert np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")).tolist() == list(range(45))


def test_both_pictures_as_one_frame(atlas):
    rows = atlas.rows
    assert rows.columns.tolist()[:5] == ["row", "pc1", "pc2", "umap1", "umap2"]
    assert rows.notna().all()[["pc1", "umap2"]].all()
    assert rows["hour"].tolist()[:11] == ["0"] * 10 + ["1"]


def test_the_saved_picture_is_there_and_the_users_text_is_data(shared):
    data, _ = shared._repr_mimebundle_()
    assert "data:image/png;base64," in data["text/html"]
    assert "<script" not in data["text/html"]
    assert "<img src=x" not in data["text/html"]
    assert "homology says a loop" in shared.description
    assert shared.chart().to_dict()["hconcat"]


def test_the_best_labels_are_the_default(cloud):
    table = cloud.table.drop(columns="hour")
    atlas = nb.Atlas(nb.Cloud.from_arrays({"resid_post.1": cloud["resid_post.1"].points}, table, INFO))
    assert atlas.view["color"] == "half"
    atlas.close()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda c: nb.Atlas(c, by="day"),
            LookupError,
            r"^got by='day', which is not a column of the cloud's table; choose from 'text', ",
        ),
        (lambda c: nb.Atlas(c, by="hour", within="day"), LookupError, r"^got within='day', which is not a column"),
        (lambda c: nb.Atlas(c.select([0, 1, 2])), ValueError, r"^got a cloud of 3 rows; wanted 4 or more to show"),
        (
            lambda c: nb.Atlas(c, n_neighbors=1),
            ValueError,
            r"^got n_neighbors=1, min_dist=0.1; wanted 2 or more, and 0",
        ),
        (lambda c: nb.Atlas(c).steer("x"), ValueError, r"^got no model to ask; open the atlas with the one that"),
        (lambda c: nb.Atlas(c).collect(), ValueError, r"^got no model to ask"),
    ],
)
def test_what_no_atlas_can_do_is_refused(cloud, make, error, message):
    with pytest.raises(error, match=message):
        make(cloud["resid_post.1"])


def test_one_file_shows_it_without_python(shared, tmp_path):
    written = shared.to_html(tmp_path / "atlas.html")
    assert (tmp_path / "atlas.html").read_text(encoding="utf-8") == written
    assert '"positions"' in written
    assert "<img src=x" not in written


def test_a_small_cloud_opens_too(cloud):
    atlas = nb.Atlas(cloud["resid_post.1"].select(np.arange(0, 90, 8)), by="half")
    atlas.view = {"layout": "umap"}
    atlas.wait()
    assert atlas.problem == ""
    assert atlas.positions["layout"] == "umap"
    assert atlas.loops.verdict == "too few points to say"
    assert atlas.shapes["p"] is None
    atlas.close()
