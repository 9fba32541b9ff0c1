"""Cloud, CloudWriter and the folder on disk: values, tables, errors, and a writer that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp.anatomy import ModelInfo
from nbinterp.clouds import Cloud, CloudWriter
from nbinterp.clouds.store import RowFile, create_store, read_store
from nbinterp.clouds.table import table_from_json, table_to_json
from nbinterp.experiment import Experiment
from nbinterp.interventions import Ablate, Patch, Steer
from nbinterp.sites import Site

MODEL = ModelInfo("tiny", "0123456789abcdef", "LlamaForCausalLM", 4, 3, 10, "model.layers")
TABLE = pd.DataFrame(
    {
        "text": ["in May", "in June", "<b>&\n\0 ☃ \ud800", ""],
        "prompt": [0, 1, 2, 3],
        "token": [" May", " June", "☃", ""],
        "position": [1, 1, 0, 0],
        "month": pd.Categorical(["May", "June", "May", "June"], categories=["May", "June"], ordered=True),
        "score": np.array([0.1, np.nan, np.inf, -1], dtype=np.float32),
        "when": np.array(["2020-01-01", "2021-01-01", "NaT", "2023-01-01"], dtype="datetime64[s]"),
        "kept": [True, False, True, False],
        "count": pd.array([1, None, 3, 4], dtype="Int64"),
        "mixed": np.array([None, 1, "a", 2.5], dtype=object),
        "huge": [2**62, 0, -(2**62), 1],
    }
)


def values(seed=0, rows=4):
    return np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)


@pytest.fixture
def cloud():
    return Cloud.from_arrays({"resid_post.1": values(1), "resid_post.2": values(2)}, TABLE, MODEL)


@pytest.fixture(params=["memory", "disk"])
def either(request, cloud, tmp_path):
    return cloud if request.param == "memory" else cloud.save(tmp_path / "c")


class TestCloud:
    def test_knows_its_rows_sites_model_and_table(self, either):
        assert len(either) == 4
        assert either.sites == (Site("resid_post", 1), Site("resid_post", 2))
        assert either.model == MODEL
        pd.testing.assert_frame_equal(either.table, TABLE)

    def test_one_site_gives_points(self, either):
        one = either["resid_post.2"]
        assert one.site == Site.of("resid_post.2")
        assert one.points.dtype == np.float64
        np.testing.assert_array_equal(one.points, values(2))
        np.testing.assert_array_equal(either[Site.of("resid_post.1")].points, values(1))

    def test_is_frozen(self, either):
        one = either["resid_post.1"]
        with pytest.raises(FrozenInstanceError):
            one.model = MODEL
        with pytest.raises(ValueError, match="read-only"):
            one.points[0] = 1
        mine = either.table
        mine["month"] = "other"
        either.dataset["more"] = 1
        if either.path is not None:  # in memory it is read-only
            either.dataset["resid_post.1"].to_numpy()[:] = 0
            np.testing.assert_array_equal(either["resid_post.1"].points, values(1))
        pd.testing.assert_frame_equal(either.table, TABLE)
        assert set(either.dataset.data_vars) == {"resid_post.1", "resid_post.2"}

    def test_does_not_follow_its_source(self):
        mine, table = values(), TABLE.copy()
        cloud = Cloud.from_arrays({"resid_post.1": mine}, table, MODEL)
        mine[:] = 0
        table["position"] = 9
        np.testing.assert_array_equal(cloud.points, values())
        assert list(cloud.table["position"]) == [1, 1, 0, 0]
        with pytest.raises(ValueError, match="read-only"):
            cloud.dataset["resid_post.1"].to_numpy()[0] = 1

    def test_dataset_is_the_documented_escape_hatch(self, either):
        data = either.dataset
        assert data["resid_post.1"].dims == ("row", "feature")
        assert data["resid_post.1"].dtype == np.float32
        assert list(data["text"].to_numpy()) == list(TABLE["text"])
        assert data.where(data["month"] == "May", drop=True).sizes["row"] == 2

    @pytest.mark.parametrize(
        "rows",
        [
            [True, False, True, False],
            TABLE["month"] == "May",
            [0, 2],
            [-4, -2],
            slice(0, 3, 2),
            np.array([True, False, True, False], dtype=object),
        ],
        ids=["list", "series", "indices", "negative", "slice", "object"],
    )
    def test_select(self, either, rows):
        chosen = either.select(rows)
        assert len(chosen) == 2
        np.testing.assert_array_equal(chosen["resid_post.1"].points, values(1)[[0, 2]])
        pd.testing.assert_frame_equal(chosen.table, TABLE.iloc[[0, 2]].reset_index(drop=True))

    def test_select_keeps_order_repeats_and_can_be_empty(self, either):
        np.testing.assert_array_equal(either.select([3, 0, 3])["resid_post.1"].points, values(1)[[3, 0, 3]])
        assert len(either.select([])) == 0
        assert either.select([])["resid_post.1"].points.shape == (0, 3)

    def test_frame(self, either):
        frame = either.frame("resid_post.1")
        assert list(frame.columns[-3:]) == ["resid_post.1[0]", "resid_post.1[1]", "resid_post.1[2]"]
        np.testing.assert_array_equal(frame.iloc[:, -3:], values(1))

    def test_standard_columns_are_filled_in(self):
        cloud = Cloud.from_arrays(
            {"resid_post.1": values()}, pd.DataFrame({"month": list("abcd")}, index=[9, 8, 7, 6]), MODEL
        )
        assert list(cloud.table) == ["text", "prompt", "token", "position", "month"]
        assert list(cloud.table["prompt"]) == [0, 1, 2, 3]
        assert list(cloud.table["position"]) == [-1] * 4
        assert list(cloud.table["month"]) == list("abcd")
        assert len(Cloud.from_arrays({"resid_post.1": values()}, None, MODEL).table) == 4

    def test_concat(self, either):
        both = Cloud.concat([either, either.select([1, 0])])
        assert list(both.table["prompt"]) == [0, 1, 2, 3, 5, 4]
        assert both.table["month"].dtype == TABLE["month"].dtype
        np.testing.assert_array_equal(both["resid_post.2"].points, values(2)[[0, 1, 2, 3, 1, 0]])

    def test_text_form(self, cloud, tmp_path):
        assert repr(cloud).splitlines()[:4] == [
            "Cloud: 4 rows, 2 sites, 3 features",
            "  sites    resid_post.1, resid_post.2",
            "  model    tiny@0123456789ab",
            "  columns  text, prompt, token, position, month, score, when, kept, count, mixed, huge",
        ]
        assert repr(cloud).endswith("lives    in memory")
        assert repr(cloud.save(tmp_path / "c")).endswith(f"in {tmp_path / 'c'}")

    def test_html_is_escaped(self, cloud):
        table = cloud.table.rename(columns={"month": "<img src=x onerror=alert(1)>"})
        bad = Cloud.from_arrays({"resid_post.1": values()}, table, replace(MODEL, name="<script>"))
        html = bad._repr_html_()
        assert "<img" not in html
        assert "<script" not in html
        assert "&lt;img" in html


class TestCloudErrors:
    def check(self, kind, text, call):
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert str(caught.value) == text

    def test_several_sites(self, cloud):
        text = "got a cloud with the sites resid_post.1, resid_post.2, where one is wanted: choose it, for example cloud['resid_post.1']."
        self.check(ValueError, text, lambda: cloud.site)
        self.check(ValueError, text, lambda: cloud.points)

    @pytest.mark.parametrize(
        ("site", "shown"), [("month", "'month'"), (Site.of("resid_post.3"), "resid_post.3"), (0, "0")]
    )
    def test_unknown_site(self, cloud, site, shown):
        text = f"got {shown}, which is no site of this cloud: it has resid_post.1, resid_post.2 (columns are in cloud.table)."
        self.check(LookupError, text, lambda: cloud[site])

    def test_not_finite(self):
        one, two = values(1), values(2)
        one[0, 0], two[0, 1], two[2, 2] = np.nan, np.inf, np.nan
        arrays = {"resid_post.1": one, "resid_post.2": two}
        text = (
            "got 2 of 4 rows with NaN or infinite values, at resid_post.1, resid_post.2: "
            "leave those rows out, or run the model in float32 where half precision overflowed."
        )
        self.check(ValueError, text, lambda: Cloud.from_arrays(arrays, TABLE, MODEL))

    def test_shapes(self):
        text = (
            "got an array of shape [4, 2] at resid_post.1; wanted [row, feature] = [4, 3], the same rows at every site."
        )
        self.check(ValueError, text, lambda: Cloud.from_arrays({"resid_post.1": np.ones((4, 2))}, TABLE, MODEL))
        text = "got a table of 4 rows for 5 rows of activations; wanted one row for each."
        self.check(ValueError, text, lambda: Cloud.from_arrays({"resid_post.1": np.ones((5, 3))}, TABLE, MODEL))
        text = "got no arrays for a Cloud; give at least one, for example {'resid_post.10': array}."
        self.check(ValueError, text, lambda: Cloud.from_arrays({}, TABLE, MODEL))
        with pytest.raises(ValueError, match=re.escape("got an array of shape [] at resid_post.1")):
            Cloud.from_arrays({"resid_post.1": 3.0}, None, MODEL)

    @pytest.mark.parametrize("name", ["row", "feature", "resid_post.1", 7])
    def test_column_names(self, name):
        text = (
            f"got the table's column {name!r}; wanted names that are text, differ from one another, are no site's name "
            "and none of row, feature: rename it."
        )
        table = pd.DataFrame({name: [1, 2, 3, 4]})
        self.check(ValueError, text, lambda: Cloud.from_arrays({"resid_post.1": values()}, table, MODEL))

    def test_column_values(self):
        def of(**columns):
            return lambda: Cloud.from_arrays({"resid_post.1": values()}, pd.DataFrame(columns), MODEL)

        text = (
            "got a value of type list in the table's column 'a'; wanted numbers, text, true or false: "
            "turn it into one of these, for example with .astype(str)."
        )
        self.check(TypeError, text, of(a=[[1], 2, 3, 4]))
        text = (
            "got the table's column 'a' of dtype complex128; wanted numbers, text, true or false, dates without a time zone, "
            "or categories: turn it into one of these, for example with .astype(str)."
        )
        self.check(TypeError, text, of(a=[1j, 2, 3, 4]))
        self.check(
            TypeError,
            "got the table's column 'text' with values that are not text; wanted text in every row.",
            of(text=[1, 2, 3, 4]),
        )
        self.check(
            TypeError,
            "got the table's column 'position' of dtype float64; wanted whole numbers.",
            of(position=[1.5, 2, 3, 4]),
        )

    def test_select(self, cloud):
        text = "got a mask of length 2 for a cloud of 4 rows; wanted one entry for each row."
        self.check(IndexError, text, lambda: cloud.select([True, False]))
        self.check(
            IndexError, "got row 4, but the cloud has 4 rows: choose from -4 to 3.", lambda: cloud.select([0, 4])
        )
        text = "got rows of dtype float64 and shape [2] to select; wanted a mask of 4 true or false, row numbers, or a slice."
        self.check(TypeError, text, lambda: cloud.select([0.0, 1.0]))

    def test_concat(self, cloud):
        other = replace(MODEL, revision="fedcba9876543210")
        text = "got clouds of the models tiny@0123456789ab and tiny@fedcba987654; wanted one model: collect both in it."
        self.check(ValueError, text, lambda: Cloud.concat([cloud, replace(cloud, model=other)]))
        text = "got clouds with the sites resid_post.1, resid_post.2 and resid_post.1; wanted the same sites in all: leave out what they do not share."
        self.check(ValueError, text, lambda: Cloud.concat([cloud, cloud["resid_post.1"]]))
        bare = Cloud.from_arrays({"resid_post.1": values(), "resid_post.2": values()}, None, MODEL)
        with pytest.raises(ValueError, match="wanted the same columns in all"):
            Cloud.concat([cloud, bare])
        self.check(ValueError, "got no clouds to concatenate; give at least one.", lambda: Cloud.concat([]))


class TestFolder:
    def test_round_trip_without_a_warning(self, cloud, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cloud.save(tmp_path / "c")
            again = Cloud.open(tmp_path / "c")
            np.testing.assert_array_equal(again["resid_post.1"].points, values(1))
        pd.testing.assert_frame_equal(again.table, TABLE)
        assert again.path == tmp_path / "c"
        assert [p.name for p in tmp_path.iterdir()] == ["c"]

    def test_any_zarr_reader_opens_it(self, cloud, tmp_path):
        cloud.save(tmp_path / "c")
        array = zarr.open_array(tmp_path / "c" / "resid_post.2", mode="r")
        assert array.metadata.zarr_format == 3
        np.testing.assert_array_equal(array[:], values(2))
        data = xr.open_zarr(tmp_path / "c", consolidated=False, chunks=None)
        assert data["resid_post.1"].dims == ("row", "feature")

    def test_many_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("nbinterp.clouds.store.CHUNK_BYTES", 4 * 3 * 5)
        rows = values(rows=2312)
        saved = Cloud.from_arrays({"resid_post.1": rows}, None, MODEL).save(tmp_path / "c")
        assert zarr.open_array(tmp_path / "c" / "resid_post.1", mode="r").chunks == (5, 3)
        np.testing.assert_array_equal(saved.points, rows)
        np.testing.assert_array_equal(saved.select(slice(7, 2000, 13)).points, rows[7:2000:13])

    def test_chunks_are_at_most_four_mebibytes(self, tmp_path):
        tmp_path.joinpath("c").mkdir()
        wide = replace(MODEL, d_model=576)
        table = pd.DataFrame({"text": [""] * 5000})
        create_store(tmp_path / "c", widths={Site.of("resid_post.1"): 576}, model=wide, table=table)
        assert zarr.open_array(tmp_path / "c" / "resid_post.1", mode="r").chunks == (1820, 576)

    def test_an_empty_cloud(self, cloud, tmp_path):
        assert len(cloud.select([]).save(tmp_path / "c")) == 0

    def test_a_failed_save_leaves_nothing(self, cloud, tmp_path, monkeypatch):
        monkeypatch.setattr(RowFile, "__setitem__", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            cloud.save(tmp_path / "c")
        assert list(tmp_path.iterdir()) == []

    def test_errors(self, cloud, tmp_path):
        with pytest.raises(
            FileNotFoundError,
            match=re.escape(f"got {tmp_path / 'no'}, where there is nothing; give the folder of a saved cloud."),
        ):
            Cloud.open(tmp_path / "no")
        tmp_path.joinpath("file").write_text("x")
        for wrong in (tmp_path, tmp_path / "file"):
            text = f"got {wrong}, which is not a cloud; give a folder that Cloud.save or a collection made."
            with pytest.raises(ValueError, match=re.escape(text)):
                Cloud.open(wrong)
        cloud.save(tmp_path / "c")
        text = f"got {tmp_path / 'c'}, where there is something already; choose another path, or delete that first."
        with pytest.raises(FileExistsError, match=re.escape(text)):
            cloud.save(tmp_path / "c")

    def test_a_newer_format_is_refused(self, cloud, tmp_path):
        cloud.save(tmp_path / "c")
        file = tmp_path / "c" / "zarr.json"
        file.write_text(file.read_text().replace('"format": 2', '"format": 3'))
        text = (
            f"got the cloud {tmp_path / 'c'} in format 3; this nbinterp reads up to 2: open it with a newer nbinterp."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            Cloud.open(tmp_path / "c")

    def test_the_first_format_is_read(self, cloud, tmp_path):
        cloud.save(tmp_path / "c")
        file = tmp_path / "c" / "zarr.json"
        group = json.loads(file.read_text())
        group["attributes"]["nbinterp_cloud"]["format"] = 1
        del group["attributes"]["nbinterp_cloud"]["interventions"]
        file.write_text(json.dumps(group))
        again = Cloud.open(tmp_path / "c")
        np.testing.assert_array_equal(again["resid_post.1"].points, values(1))
        assert again.interventions == ()

    def test_what_acted_in_the_model_is_kept(self, cloud, tmp_path):
        acts = (
            Steer("resid_post.0", direction=[1, 2, 3], scale=0.1, tokens=-1),
            Patch("resid_post.1", source=Experiment("a", Ablate("resid_post.0")), source_tokens=-1),
        )
        changed = replace(cloud, interventions=acts)
        saved = changed.save(tmp_path / "c")
        for one in (changed, saved, saved.save(tmp_path / "d")):
            assert one.interventions == one["resid_post.1"].interventions == one.select([1]).interventions == acts
            assert "changed  under Steer at resid_post.0, Patch at resid_post.1" in repr(one)
        assert Cloud.concat([changed, saved]).interventions == acts
        assert "changed" not in repr(cloud)
        text = (
            "got clouds collected untouched and under Steer at resid_post.0, Patch at resid_post.1; wanted the same "
            "interventions in all, so that the cloud can say what acted: keep them apart."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            Cloud.concat([cloud, changed])

    def test_lost_values_and_a_wrong_table_are_noticed(self, cloud, tmp_path):
        saved = cloud.save(tmp_path / "c")
        tmp_path.joinpath("c", "resid_post.1", "c", "0", "0").unlink()
        text = f"got rows without values at resid_post.1 from {tmp_path / 'c'}: the folder was changed or deleted; collect the cloud again."
        with pytest.raises(ValueError, match=re.escape(text)):
            _ = saved["resid_post.1"].points
        cloud.select([0, 1, 2]).save(tmp_path / "d")
        os.replace(tmp_path / "d" / "table" / "zarr.json", tmp_path / "c" / "table" / "zarr.json")
        with pytest.raises(ValueError, match=re.escape("got a table of 3 rows for 4 rows of activations in")):
            Cloud.open(tmp_path / "c")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=[])),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.booleans(),
            st.none() | st.text() | st.floats() | st.integers() | st.booleans(),
        ),
        min_size=1,
    )
)
def test_any_table_survives_json(rows):
    table = pd.DataFrame(rows, columns=["a", "b", "c", "d", "e"])
    table["e"] = pd.Series([row[-1] for row in rows], dtype=object)
    again = table_from_json(json.loads(json.dumps(table_to_json(table), allow_nan=False)))
    pd.testing.assert_frame_equal(again, table)
    assert [type(v) for v in again["e"]] == [type(v) for v in table["e"]]


def writer(store=None, key="k", n_rows=4, sites=("resid_post.1", "resid_post.2"), table=TABLE):
    return CloudWriter(n_rows, sites, MODEL, table, store, key=key)


def batch(rows):
    return {"resid_post.1": values(1)[rows], "resid_post.2": values(2)[rows]}


@pytest.fixture(params=[None, "c"], ids=["memory", "disk"])
def store(request, tmp_path):
    return request.param and tmp_path / request.param


class TestWriter:
    def test_rows_arrive_in_any_order(self, store, cloud):
        mine = writer(store)
        assert list(mine.missing) == [0, 1, 2, 3]
        mine.write([3, 0], batch([3, 0]))
        assert list(mine.missing) == [1, 2]
        mine.write([], batch([]))
        mine.write([2, 1], batch([2, 1]))
        done = mine.cloud()
        assert done.path == store
        pd.testing.assert_frame_equal(done.table, TABLE)
        for site in done.sites:
            np.testing.assert_array_equal(done[site].points, cloud[site].points)

    def test_partial(self, store):
        mine = writer(store)
        assert len(mine.partial()) == 0
        mine.write([3, 0], batch([3, 0]))
        part = mine.partial()
        np.testing.assert_array_equal(part["resid_post.2"].points, values(2)[[0, 3]])
        assert list(part.table["text"]) == ["in May", ""]
        with pytest.raises(
            ValueError, match=re.escape("got 2 of 4 rows so far: collect the rest, or take these with .partial().")
        ):
            mine.cloud()

    def test_goes_on(self, tmp_path):
        writer(tmp_path / "c").write([1], batch([1]))
        text = (
            f"got {tmp_path / 'c'}, a collection of which 1 of 4 rows are written: "
            "run the same collection again to go on, or take these rows with partial=True."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            Cloud.open(tmp_path / "c")
        np.testing.assert_array_equal(Cloud.open(tmp_path / "c", partial=True)["resid_post.1"].points, values(1)[[1]])
        again = writer(tmp_path / "c", table=TABLE.assign(month="x"))
        assert list(again.missing) == [0, 2, 3]
        again.write([0, 2, 3], batch([0, 2, 3]))
        np.testing.assert_array_equal(Cloud.open(tmp_path / "c")["resid_post.1"].points, values(1))
        assert set(again.cloud().table["month"]) == {"x"}

    def test_another_request_is_refused(self, tmp_path):
        path = tmp_path / "c"
        writer(path)
        text = (
            f"got the request 'other' for {path}, which was started for the request 'k' "
            "(other prompts, sites, tokens, interventions or another model): choose another folder, or delete that one to start anew."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            writer(path, key="other")
        text = (
            f"got 4 rows at resid_post.1 for {path}, which was started for 4 rows at resid_post.1, resid_post.2: "
            "choose another folder, or delete that one to start anew."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            writer(path, sites=["resid_post.1"])

    def test_values_that_are_not_finite_are_refused(self, store):
        mine = writer(store)
        bad = batch([2, 1, 0])
        bad["resid_post.2"] = bad["resid_post.2"] * [[1], [np.nan], [np.inf]]
        text = (
            "got NaN or infinite activations at resid_post.2 in 2 of 3 rows, first for the prompt 'in June': "
            "leave it out, or run the model in float32 where half precision overflowed."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            mine.write([2, 1, 0], bad)
        assert list(mine.missing) == [0, 1, 2, 3]

    def test_a_long_prompt_is_cut_in_the_error(self):
        mine = CloudWriter(1, ["resid_post.1"], MODEL, pd.DataFrame({"text": ["x" * 500]}), key="k")
        with pytest.raises(ValueError, match=r"first for the prompt 'x{79}…'"):
            mine.write([0], {"resid_post.1": np.full((1, 3), np.nan)})

    def test_wrong_batches(self, store):
        mine = writer(store)
        for rows in ([0, 0], [4], [-1]):
            with pytest.raises(
                IndexError, match=re.escape(f"got the rows {rows} to write; wanted different ones from 0 to 3.")
            ):
                mine.write(rows, batch(rows[:1] * 0))
        with pytest.raises(
            ValueError, match=re.escape("got values at resid_post.1; wanted them at resid_post.1, resid_post.2.")
        ):
            mine.write([0], {"resid_post.1": values()[:1]})
        text = "got values of shape [1, 3] at resid_post.1 for 2 rows; wanted [row, feature] = [2, 3]."
        with pytest.raises(ValueError, match=re.escape(text)):
            mine.write([0, 1], batch([0]))
        with pytest.raises(
            ValueError, match=re.escape("got the sites [] to write; wanted at least one, none of them twice.")
        ):
            writer(sites=[])

    def test_a_chunk_that_a_killed_process_left_short(self, tmp_path):
        mine = writer(tmp_path / "c")
        short = tmp_path / "c" / "resid_post.1" / "c" / "0" / "0"
        short.parent.mkdir(parents=True)
        short.write_bytes(b"abc")
        mine.write([0, 1], batch([0, 1]))
        np.testing.assert_array_equal(mine.partial()["resid_post.1"].points, values(1)[:2])

    def test_a_row_that_is_written_again_is_not_done_meanwhile(self, tmp_path, monkeypatch):
        mine = writer(tmp_path / "c")
        mine.write([0, 1, 2, 3], batch([0, 1, 2, 3]))
        real = RowFile.__setitem__

        def fail_on_values(self, rows, given):
            if isinstance(given, np.ndarray):
                raise OSError("disk full")
            real(self, rows, given)

        monkeypatch.setattr(RowFile, "__setitem__", fail_on_values)
        with pytest.raises(OSError, match="disk full"):
            mine.write([1], batch([1]))
        assert list(mine.missing) == [1]
        assert list(writer(tmp_path / "c").missing) == [1]


KILLED = """
import sys
import numpy as np
from nbinterp.clouds import CloudWriter
from nbinterp.anatomy import ModelInfo
model = ModelInfo("tiny", "r", "A", 1, 64, 10, "b")
n = 20_000
writer = CloudWriter(n, ["resid_post.0", "resid_post.1"], model, None, sys.argv[1], key="k")
order = np.random.default_rng(0).permutation(n)
print("writing", len(writer.missing), flush=True)
for part in np.array_split(order[np.isin(order, writer.missing)], 10_000):
    rows = np.repeat(part[:, None], 64, axis=1)
    writer.write(part, {"resid_post.0": rows + 1, "resid_post.1": -rows - 1})
print("finished", flush=True)
"""


def test_a_killed_writer_loses_nothing_that_is_done(tmp_path, monkeypatch):
    path = tmp_path / "c"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(path)]
    done = 0
    for wait in (0.01, 0.07, 0.13):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout.readline().split() == ["writing", str(20_000 - done)]
        while read_store(path).done().sum() == done:  # a busy machine may be slow to begin
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        part = Cloud.open(path, partial=True)
        assert len(part) > done
        done = len(part)
        wanted = part.table["prompt"].to_numpy()[:, None] + 1.0
        assert (part["resid_post.0"].points == wanted).all()
        assert (part["resid_post.1"].points == -wanted).all()
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    assert last.stdout.split() == ["writing", str(20_000 - done), "finished"]
    whole = Cloud.open(path)
    assert (whole["resid_post.0"].points == np.arange(1.0, 20_001)[:, None]).all()
