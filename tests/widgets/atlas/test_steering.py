"""From a selection to the demo model: the direction on a playground's stack, and the cloud collected again under it."""

import contextlib
import sys
from types import ModuleType

import ipywidgets
import numpy as np
import pandas as pd
import pytest

import nbinterp as nb

MONTHS = ("January", "February", "March", "July", "August", "September")
TEMPLATES = ("If this month is {}, next month is", "We met in {}, and then")


@pytest.fixture(scope="module")
def cloud(model):
    prompts = [template.format(month) for template in TEMPLATES for month in MONTHS]
    labels = pd.DataFrame({"month": list(MONTHS) * 2, "template": np.repeat([0, 1], len(MONTHS))})
    return model.collect(prompts, sites=["resid_post.5", "resid_post.8"], labels=labels, progress=False)


@pytest.fixture(scope="module")
def steered(model, cloud):
    """An atlas whose direction from winter to summer was steered and collected under."""
    atlas = nb.Atlas(cloud, model, by="month", within="template")
    made = atlas.make("direction", rows=cloud.table["month"].isin(MONTHS[3:]).to_numpy(), name="summer")
    playground = atlas.steer(made)
    again = atlas.collect()
    yield atlas, playground, again
    atlas.close()


def test_a_claim_stands_on_the_playgrounds_stack(steered, cloud):
    atlas, playground, _ = steered
    (act,) = playground.experiment.interventions
    assert isinstance(act, nb.Steer)
    assert act.direction == atlas.claim("summer").space
    assert str(act.site) == "resid_post.5"
    # once is the gap between the two sides
    assert act.scale == 1
    assert "Take summer out" in [recipe["name"] for recipe in playground.recipes]
    assert playground.experiment.prompts == (cloud.table["text"][3],)
    assert atlas.get_state(["playground"])["playground"] == f"IPY_MODEL_{playground.model_id}"
    assert atlas.get_state(["spec"])["spec"]["model"] == "smollm2-135m"


def test_rows_that_are_collected_again_are_where_the_intervention_put_them(steered, cloud):
    _atlas, playground, again = steered
    (act,) = playground.experiment.interventions
    moved = again.points - cloud["resid_post.5"].points
    assert moved == pytest.approx(np.tile(act.scale * act.direction.vector, (12, 1)), abs=2e-3)
    assert again.table["text"].tolist() == cloud.table["text"].tolist()
    assert again.table["month"].tolist() == cloud.table["month"].tolist()


def test_they_are_shown_in_the_same_picture_beside_their_control(steered, cloud):
    atlas, _, _ = steered
    again = atlas.again
    xy = np.frombuffer(again["xy"], dtype="<f4").reshape(-1, 2)
    frame = atlas.frame()
    before, after = (part[["x", "y"]].to_numpy() for _, part in frame.groupby("interventions"))
    assert frame["interventions"].tolist() == [""] * 12 + ["Steer at resid_post.5"] * 12
    assert frame["month"].tolist() == cloud.table["month"].tolist() * 2
    assert xy == pytest.approx(after, abs=1e-6)
    # one push for all, as the projection of the direction has it
    assert xy - before == pytest.approx(np.tile((xy - before)[0], (12, 1)), abs=1e-3)
    assert again["what"] == "Steer at resid_post.5"
    assert again["statement"].startswith("12 rows moved by ")
    assert "the others went 100% of the way to the picked (the control " in again["statement"]
    assert again["statement"].endswith("It acts at this very site: a later layer shows what the model makes of it.")
    table = atlas.movement.table
    assert table["moved"].to_numpy() == pytest.approx(table["control"].to_numpy(), rel=1e-3)
    others = ~table["picked"]
    assert (table.loc[others, "towards"] > table.loc[others, "towards_control"]).all()


def test_the_stored_picture_shows_both_beside_each_other(steered):
    atlas, _, _ = steered
    picture, frame = atlas._picture()
    spec = picture.to_dict()
    points, rings = (len(spec["datasets"][layer["data"]["name"]]) for layer in spec["layer"][:2])
    assert (points, rings) == (12, 12)
    assert (spec["layer"][1]["mark"]["type"], spec["layer"][1]["mark"]["filled"]) == ("point", False)
    assert spec["title"]["subtitle"] == ["resid_post.5", "○ Steer at resid_post.5"]
    assert frame["row"].tolist() == np.repeat(np.arange(12), 2).tolist()
    assert "Collected again, Steer at resid_post.5: 12 rows moved by" in atlas.description
    html = atlas.to_html()
    assert "Steer at resid_post.5</td>" in html
    # at another layer the page shows the cloud alone, and so does its picture
    atlas.site = "resid_post.8"
    atlas.wait()
    assert len(atlas.frame()) == 12
    assert not atlas._picture()[1].duplicated("row").any()
    assert "Collected again" not in atlas.description
    atlas.site = "resid_post.5"
    atlas.wait()


def test_another_layout_places_them_too(steered):
    atlas, _, _ = steered
    atlas.view = {"layout": "umap"}
    atlas.wait()
    assert atlas.again["layout"] == "umap"
    assert np.isfinite(np.frombuffer(atlas.again["xy"], dtype="<f4")).all()
    atlas.view = {"layout": "pca"}
    atlas.wait()


def test_the_playground_follows_what_is_asked_for(model, cloud, monkeypatch):
    atlas = nb.Atlas(cloud, model, within="template")
    atlas.make("direction", rows=[0, 1, 2, 6], name="winter")
    atlas.make("plane", rows=[0, 1, 2, 6], name="flat")
    with pytest.raises(LookupError, match=r"^got ' Januember', which is not a single token"):
        atlas.steer("winter", track=" Januember")
    with pytest.raises(
        ValueError, match=r"^got scale=2 for the plane 'flat' with how=''; only a direction that is added"
    ):
        atlas.steer("flat", scale=2)
    assert atlas.playground is None
    playground = atlas.steer("winter", track=[" January", " July"], scale=-2)
    assert playground.experiment.interventions[0].scale == -2
    assert [one["text"] for one in playground.answer["tracked"]] == [" January", " July"]
    # in one that is open already the tokens change, and what was added stays
    atlas.steer("winter", "out", track=" March")
    assert playground.setting["tracked"] == [" March"]
    assert [type(act) for act in playground.experiment.interventions] == [nb.Steer, nb.Project]
    playground.undo()
    playground.undo()
    assert playground.setting["tracked"] == [" January", " July"]
    atlas.close()


def test_what_cannot_reach_the_site_is_refused_before_the_model_runs(model, cloud):
    atlas = nb.Atlas(cloud, model, within="template")
    with pytest.raises(ValueError, match=r"^got no playground, whose interventions the cloud is collected under"):
        atlas.collect()
    made = atlas.make("direction", rows=[0, 1, 2, 6], name="late")

    class Stub:
        model_id = "stub"
        experiment = nb.Experiment("x", nb.Steer("resid_post.20", direction=made.space.at("resid_post.20")))

    atlas.playground = Stub()
    with pytest.raises(
        ValueError, match=r"^got interventions at layer 20 and a cloud read at resid_post.5, which they cannot"
    ):
        atlas.collect()
    Stub.experiment = nb.Experiment("x")
    with pytest.raises(ValueError, match=r"^got no intervention to collect under; wanted one at least"):
        atlas.collect()
    atlas.close()


def test_a_collection_that_is_stopped_shows_what_came_back(model, cloud):
    atlas = nb.Atlas(cloud, model, within="template")

    class Stub:
        model_id = "stub"
        experiment = nb.Experiment("x", nb.Ablate("resid_post.5", tokens=-1))

    atlas.playground = Stub()
    steps = atlas._steering._collected(Stub.experiment.interventions, 0, np.array([11]))
    next(steps)
    next(steps)
    steps.close()
    xy = np.frombuffer(atlas.again["xy"], dtype="<f4").reshape(-1, 2)
    # the picked row's prompt came first
    assert np.isfinite(xy[11]).all()
    assert np.isnan(xy).any()
    assert atlas.task is None
    atlas.close()


def test_a_cloud_that_does_not_know_its_prompts_is_not_collected_again(model, cloud):
    points = cloud["resid_post.5"].points
    unknown = nb.Cloud.from_arrays({"resid_post.5": points}, None, cloud.model)
    atlas = nb.Atlas(unknown, model)
    made = atlas.make("direction", rows=[0, 1, 2])
    with pytest.raises(ValueError, match=r"^got rows without a text and no prompt; wanted one to steer at"):
        atlas.steer(made)
    with pytest.raises(ValueError, match=r"^got how='sing'; choose 'steer', 'turn', 'out' or 'keep'\.$"):
        atlas.steer(made, "sing")
    atlas.close()


def test_a_cloud_of_another_model_is_refused(model):
    info = nb.anatomy.ModelInfo(
        "toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=16, n_vocab=10, blocks="model.layers"
    )
    other = nb.Cloud.from_arrays({"resid_post.1": np.random.default_rng(0).normal(size=(20, 16))}, None, info)
    with pytest.raises(ValueError, match=r"^got a cloud of toy@abc and the model smollm2-135m@"):
        nb.Atlas(other, model)


def test_a_later_layer_shows_what_the_model_makes_of_it(steered):
    atlas, _, _ = steered
    atlas.view = {"site": 1}
    later = atlas.collect()
    assert str(later.site) == "resid_post.8"
    assert atlas.again["site"] == 1
    assert "It acts at this very site" not in atlas.again["statement"]
    atlas.view = {"site": 0}
    atlas.wait()


def test_where_only_a_running_cell_makes_widgets_the_playground_belongs_to_the_atlas_cell(model, cloud, monkeypatch):
    class Marimo(ModuleType):
        """What of marimo's runtime is asked: its present context, which is in a cell or in none."""

        cell_id: str | None = "the cell of the atlas"

        def safe_get_context(self):
            return self

        @contextlib.contextmanager
        def with_cell_id(self, cell):
            self.cell_id = cell
            yield
            self.cell_id = None

    runtime, made = Marimo("marimo._runtime.context"), []
    monkeypatch.setitem(sys.modules, runtime.__name__, runtime)
    atlas = nb.Atlas(cloud, model, by="month")
    runtime.cell_id = None
    monkeypatch.setattr(
        ipywidgets.Widget, "_widget_construction_callback", lambda widget: made.append((widget, runtime.cell_id))
    )
    playground = atlas.steer(atlas.make("direction", rows=cloud.table["month"].isin(MONTHS[3:]).to_numpy()))
    assert [cell for widget, cell in made if widget is playground] == ["the cell of the atlas"]
    assert runtime.cell_id is None
    atlas.close()
