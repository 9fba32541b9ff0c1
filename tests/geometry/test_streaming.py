"""Rows read in passes over chunks: the same answers as in memory, each chunk read once, few in memory at a time."""

import re
import threading
import weakref

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from nbinterp.clouds import Cloud, CloudWriter
from nbinterp.clouds.store import read_sizes
from nbinterp.geometry.passes import Moments, Passes
from nbinterp.geometry.persistence import persistence
from nbinterp.geometry.preparation import Preparation, prepare
from nbinterp.geometry.significance import significance
from nbinterp.geometry.streaming import LargePrepared, nearest_rows, prepare_large
from tests.geometry import planted

AWKWARD = {
    "one chunk": (240,),
    "rows one by one": (1,) * 240,
    "the last is short": (64, 64, 64, 48),
    "uneven, one of them empty": (1, 0, 100, 7, 131, 1),
}


def correlated(n=240, d=20, seed=0):
    """Rows whose components have different variances, far from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.geomspace(5, 0.2, d) @ planted.frame_of(d, d, seed) + 50 * rng.normal(size=d)


def chunked(rows, sizes=(100,)):
    return da.from_array(rows, chunks=(sizes if sum(sizes) == len(rows) else sizes[0], rows.shape[1]))


def large(rows, n_components=3, **more):
    given = {"landmarks": 10, "progress": False, "max_norm_ratio": None}
    return prepare_large(rows, n_components, **(given | more))


def same_sign(a, b):
    return a * np.sign((a * b).sum(axis=1, keepdims=True))


class Source:
    """An array that counts what is read of it, and how much of that is alive at once."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.ndim = rows, rows.shape, rows.dtype, rows.ndim
        self.reads, self.alive, self.most, self._lock = 0, 0, 0, threading.Lock()

    def __getitem__(self, index):
        block = self.rows[index].copy()
        with self._lock:
            self.reads += 1
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(block, self._gone)
        return block

    def _gone(self):
        with self._lock:
            self.alive -= 1


class TestMoments:
    @settings(max_examples=60, deadline=None)
    @given(
        hnp.arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 4)), elements=st.floats(-100, 100)),
        st.lists(st.integers(0, 30), max_size=5),
        st.floats(-1e6, 1e6),
    )
    def test_those_of_parts_add_up_to_those_of_the_whole(self, rows, cuts, shift):
        rows = rows + shift
        parts = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
        total = sum((Moments.of(part) for part in parts[1:]), start=Moments.of(parts[0]))
        assert total.count == len(rows)
        scale = 1e-9 * (1 + abs(shift))
        np.testing.assert_allclose(total.mean, rows.mean(axis=0), atol=scale)
        np.testing.assert_allclose(total.scatter, Moments.of(rows).scatter, atol=100 * len(rows) * scale, rtol=1e-9)

    def test_a_large_mean_costs_no_digits(self):
        rows = np.random.default_rng(0).normal(size=(10_000, 2))
        far = rows + 1e8
        merged = sum((Moments.of(part) for part in np.array_split(far, 100)), start=Moments.of(far[:0]))
        np.testing.assert_allclose(merged.covariance, np.cov(far.T), rtol=1e-7)
        plain = (far.T @ far - len(far) * np.outer(far.mean(axis=0), far.mean(axis=0))) / (len(far) - 1)
        assert np.abs(plain - np.cov(rows.T)).max() > 0.1  # what summing squares would have given


class TestEqualToMemory:
    @pytest.mark.parametrize("sizes", AWKWARD.values(), ids=AWKWARD)
    def test_components_are_those_of_preparation_and_of_scikit_learn(self, sizes):
        rows = correlated()
        found = large(chunked(rows, sizes), 5)
        fitted, ours = Preparation(5).fit(rows), found.prepared.preparation
        np.testing.assert_allclose(found.centre, fitted.mean_, rtol=1e-8)
        np.testing.assert_allclose(ours.components_, fitted.components_, atol=1e-8)
        np.testing.assert_allclose(ours.explained_variance_, fitted.explained_variance_, rtol=1e-8)
        np.testing.assert_allclose(ours.explained_variance_ratio_, fitted.explained_variance_ratio_, rtol=1e-8)
        np.testing.assert_allclose(found.covariance, np.cov(rows.T), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.scores, fitted.transform(rows), atol=1e-4)
        assert found.scores.dtype == np.float32
        pca = PCA(5, svd_solver="full").fit(rows)
        np.testing.assert_allclose(ours.explained_variance_, pca.explained_variance_, rtol=1e-8)
        np.testing.assert_allclose(same_sign(ours.components_, pca.components_), pca.components_, atol=1e-8)

    def test_a_share_of_the_variance_takes_as_many(self):
        rows = correlated()
        for share in (0.5, 0.9, 0.999):
            ours = large(chunked(rows), share).prepared.preparation
            assert ours.n_components_ == Preparation(share).fit(rows).n_components_
        found = large(chunked(rows), 0.999, max_components=4)
        assert found.prepared.preparation.n_components_ == 4
        assert re.search(
            r"\(100% of the variance takes more than max_components=4, which hold \d\d%\);", found.provenance
        )

    @pytest.mark.parametrize("k", [0, 1, 4])
    def test_parallel_analysis_finds_as_many(self, k):
        rng = np.random.default_rng(k)
        rows = rng.normal(size=(3000, 30)) * rng.uniform(0.9, 1.1, size=30)
        rows += 2 * rng.normal(size=(3000, k)) @ planted.frame_of(30, max(k, 1))[:k]
        ours = large(chunked(rows, (700,)), "parallel").prepared.preparation
        assert ours.n_components_ == Preparation("parallel").fit(rows).n_components_ == max(k, 1)

    def test_parallel_analysis_says_where_it_was_cut(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(1000, 30)) + 2 * rng.normal(size=(1000, 4)) @ planted.frame_of(30, 4)
        found = large(chunked(rows), "parallel", max_components=2)
        assert found.prepared.preparation.n_components_ == 2
        assert "(of which max_components=2 stand out, and perhaps more);" in found.provenance

    def test_the_largest_variance_of_flipped_signs_is_drawn_from_its_distribution(self):
        from scipy.stats import ks_2samp

        from nbinterp.geometry import streaming

        rng = np.random.default_rng(0)
        rows = correlated(2000, 10)
        rows -= rows.mean(axis=0)
        flipped = [Moments.of(rows * rng.choice([-1, 1], rows.shape)) for _ in range(200)]
        wanted = [np.linalg.eigvalsh((m.scatter + m.count * np.outer(m.mean, m.mean)) / 1999)[-1] for m in flipped]
        spread = np.sqrt((rows**2).T @ rows**2) / 1999
        variances = (rows**2).sum(axis=0) / 1999
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(streaming, "PARALLEL_DRAWS", 1)
            drawn = [streaming._flipped(variances, spread, 1, rng)[0] for _ in range(200)]
        assert ks_2samp(wanted, drawn).pvalue > 0.01

    def test_whitened(self):
        rows = correlated()
        found = large(chunked(rows), 4, whiten=True)
        np.testing.assert_allclose(found.scores, Preparation(4, whiten=True).fit_transform(rows), atol=1e-4)

    def test_groups_are_centred(self):
        rows, labels, groups = planted.labelled(planted.circle(12))
        order = np.random.default_rng(0).permutation(len(rows))
        rows, groups = rows[order], groups[order]
        wanted = prepare(rows, 2, within=groups, max_norm_ratio=None)
        found = large(chunked(rows, (50,)), 2, within=groups)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(found.prepared.preparation.components_, wanted.preparation.components_, atol=1e-8)
        np.testing.assert_allclose(found.centre, rows.mean(axis=0), rtol=1e-8)
        means = found.means(labels[order])
        np.testing.assert_allclose(means, [wanted.rows[labels[order] == i].mean(axis=0) for i in range(12)], atol=1e-8)
        assert "centred within groups" in found.provenance

    def test_rows_of_a_giant_norm_are_set_aside(self):
        rows = correlated() - 50
        rows[[3, 150]] *= 300
        wanted = prepare(rows, 3)
        found = large(chunked(rows), max_norm_ratio=3.0)
        np.testing.assert_array_equal(found.source.kept, wanted.source.kept)
        np.testing.assert_array_equal(np.flatnonzero(found.assigned()[0] == -1), [3, 150])
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        assert "2 set aside, of norm above 3 × the median" in found.provenance
        assert large(chunked(rows)).source.kept.all()

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
    def test_other_numbers(self, dtype):
        rows = correlated().astype(dtype)
        found = large(chunked(rows))
        np.testing.assert_allclose(
            found.prepared.preparation.explained_variance_, Preparation(3).fit(rows).explained_variance_, rtol=1e-8
        )

    def test_features_in_several_chunks(self):
        rows = correlated()
        found = large(da.from_array(rows, chunks=(70, 7)))
        np.testing.assert_allclose(found.covariance, np.cov(rows.T), rtol=1e-8, atol=1e-10)

    def test_every_kind_of_rows(self):
        rows = correlated()
        wanted = large(chunked(rows)).scores
        lazy = xr.DataArray(rows, dims=("row", "feature"))
        for given_rows in (rows, lazy, lazy.chunk({"row": 50}), np.asfortranarray(rows)):
            np.testing.assert_allclose(large(given_rows).scores, wanted, atol=1e-5)

    def test_in_other_processes(self):
        rows = correlated()
        with dask.config.set(scheduler="processes", num_workers=1):
            found = large(chunked(rows))
        np.testing.assert_allclose(found.scores, large(chunked(rows)).scores, atol=1e-5)


class TestSample:
    def test_it_is_prepared_as_rows_in_memory_are_but_for_the_components_of_all(self):
        rows = correlated(2000)
        rows[[3, 150]] *= 300
        groups = np.arange(2000) % 3
        found = large(chunked(rows, (300,)), within=groups, sample_rows=500, landmarks=40, max_norm_ratio=3.0)
        prepared, sample = found.prepared, found.sample
        assert prepared.rows.shape == (500, 20)
        assert len(np.unique(sample)) == 500
        assert not np.isin([3, 150], sample).any()
        whole = prepare(rows, 3, within=groups)
        used = np.cumsum(whole.source.kept) - 1
        np.testing.assert_allclose(prepared.rows, whole.rows[used[sample]], atol=1e-8)
        np.testing.assert_allclose(prepared.scores, whole.scores[used[sample]], atol=1e-8)
        np.testing.assert_allclose(found.scores[used[sample]], prepared.scores, atol=1e-4)
        np.testing.assert_allclose(prepared.source.points, rows[sample], atol=1e-8)
        assert prepared.points.shape == (40, 3)
        assert prepared.within == "groups"
        narrowed = prepared.narrowed(2, 20)
        assert (narrowed.points.shape, narrowed.scores.shape) == ((20, 2), (500, 2))
        assert "2 set aside, of norm above 3 × the median; components of all, in passes over 7 chunks; 500 rows" in str(
            narrowed
        )

    def test_it_is_as_large_as_there_is_memory_for(self):
        assert len(large(chunked(correlated()), memory=4 * 16 * 20 * 4000).sample) == 240
        assert len(large(chunked(correlated(), (10,)), memory=4 * 16 * 20 * 100).sample) == 100

    def test_without_landmarks_it_is_the_points(self):
        found = large(chunked(correlated()), landmarks=None, sample_rows=100).prepared
        np.testing.assert_array_equal(found.points[found.point_of_row], found.scores)
        assert found.landmark_error == 0

    def test_every_row_is_assigned_to_its_nearest_point_and_the_farthest_tells_the_error(self, monkeypatch):
        monkeypatch.setattr("nbinterp.geometry.streaming.ASSIGNED", 300)
        found = large(chunked(correlated(2000), (300,)), landmarks=40, sample_rows=500)
        for prepared in (None, found.prepared.narrowed(2, 30)):
            point_of_row, error = found.assigned(prepared)
            points = (prepared or found.prepared).points
            distances = np.linalg.norm(found.scores[:, None, : points.shape[1]] - points, axis=2)
            np.testing.assert_array_equal(point_of_row, distances.argmin(axis=1))
            assert error == pytest.approx(max(distances.min(axis=1).max(), distances.min(axis=0).max()))
            assert error >= (prepared or found.prepared).landmark_error

    def test_landmarks_in_the_full_space(self):
        rows = correlated(1000)
        found = large(chunked(rows, (300,)), landmarks=20)
        point_of_row = found.assigned()[0]
        centred = rows - rows.mean(axis=0)
        wanted = np.array([centred[point_of_row == i].mean(axis=0) for i in range(20)])
        np.testing.assert_allclose(found.means(point_of_row), wanted, atol=1e-8)
        # all rows are in the sample: projected, these are the means of k-means
        np.testing.assert_allclose(found.prepared.preparation.transform(wanted), found.prepared.points, atol=0.1)
        np.testing.assert_allclose(found.means(np.where(point_of_row == 7, 0, -1)), wanted[[7]], atol=1e-8)

    def test_duplicates_count_once(self):
        rows = np.repeat(correlated(12), 30, axis=0)
        found = large(chunked(rows), landmarks=None)
        assert len(found.prepared.points) == 12

    def test_seeds_repeat(self):
        rows = correlated(2000)
        one, other = (large(chunked(rows, size), sample_rows=300) for size in ((300,), (77,)))
        np.testing.assert_allclose(one.prepared.points, other.prepared.points, atol=1e-6)
        assert (one.sample == other.sample).all()
        assert (large(chunked(rows), sample_rows=300, seed=1).sample != one.sample).any()

    def test_homology_and_its_test_go_on_from_it(self):
        rng = np.random.default_rng(0)
        angles = rng.uniform(0, 2 * np.pi, 4000)
        rows = 3 * np.column_stack([np.cos(angles), np.sin(angles)]) @ planted.frame_of(64, 2)
        rows += 0.4 * rng.normal(size=rows.shape)
        prepared = large(chunked(rows, (333,)), 2, landmarks=40, sample_rows=400).prepared
        test = significance(persistence(prepared), n_null=99)
        assert (test.verdict, test.p, test.n_points) == ("a loop", 0.01, 40)
        nothing = large(chunked(rng.normal(size=(4000, 64)), (333,)), 2, landmarks=40, sample_rows=400).prepared
        assert significance(persistence(nothing), n_null=99).verdict == "no loop"

    def test_labels_that_do_not_fit_are_refused(self):
        found = large(chunked(correlated()))
        message = "got labels of shape [3] and dtype int64 for 240 rows; wanted a whole number for each, from 0."
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            found.means([0, 1, 2])
        message = "got no used row for the label 1; wanted one for each label from 0 to 2: number them without gaps."
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            found.means(np.repeat([0, 2], 120))


class TestNearest:
    @pytest.mark.parametrize("sizes", AWKWARD.values(), ids=AWKWARD)
    def test_they_are_those_of_scikit_learn(self, sizes):
        rows = correlated()
        queries = np.array([200, 3, 3, 0, 239])
        found, distances = nearest_rows(chunked(rows, sizes), queries, 7)
        wanted = NearestNeighbors(n_neighbors=8, algorithm="brute").fit(rows).kneighbors(rows[queries])
        np.testing.assert_array_equal(found, wanted[1][:, 1:])
        np.testing.assert_allclose(distances, wanted[0][:, 1:], rtol=1e-9)

    def test_many_rows_and_queries(self, monkeypatch):
        monkeypatch.setattr("nbinterp.geometry.passes.SCRATCH", 8 * 100 * 7)
        rows = np.random.default_rng(0).normal(size=(3000, 5))
        queries = np.arange(0, 3000, 11)
        found, distances = nearest_rows(chunked(rows, (100,)), queries, 15)
        wanted = NearestNeighbors(n_neighbors=16).fit(rows).kneighbors(rows[queries])
        np.testing.assert_array_equal(found, wanted[1][:, 1:])
        np.testing.assert_allclose(distances, wanted[0][:, 1:], rtol=1e-9)

    def test_duplicates_far_away_are_at_no_distance(self):
        rows = np.repeat(1e5 + correlated(40), 3, axis=0)
        rows[1] += 1e-4
        found, distances = nearest_rows(chunked(rows, (7,)), np.arange(120), 2)
        for row in range(3, 120):
            assert set(found[row]) == set(range(row // 3 * 3, row // 3 * 3 + 3)) - {row}
        assert not distances[3:].any()
        np.testing.assert_allclose(distances[1], 1e-4 * np.sqrt(20), rtol=1e-3)

    def test_rows_set_aside_are_nobodys_neighbours(self):
        rows = correlated() - 50
        rows[[3, 150]] *= 300
        found = large(chunked(rows), max_norm_ratio=3.0)
        near, _ = nearest_rows(found, [0, 5], 237)
        assert not np.isin([3, 150], near).any()
        with pytest.raises(ValueError, match=r"^got the query 150; wanted a row in use, 0 to 239 and not set aside\.$"):
            nearest_rows(found, [150], 2)

    def test_groups_are_centred_first(self):
        rows, _, groups = planted.labelled(planted.circle(12))
        found = large(chunked(rows, (50,)), 2, within=groups)
        centred = prepare(rows, 2, within=groups, max_norm_ratio=None).rows
        near, distances = nearest_rows(found, np.arange(180), 5)
        wanted = NearestNeighbors(n_neighbors=6).fit(centred).kneighbors(centred)
        np.testing.assert_array_equal(near, wanted[1][:, 1:])
        np.testing.assert_allclose(distances, wanted[0][:, 1:], rtol=1e-9)

    @pytest.mark.parametrize(
        ("queries", "k", "message"),
        [
            ([240], 3, "got the query 240; wanted a row in use, 0 to 239 and not set aside."),
            ([-1], 3, "got the query -1; wanted a row in use, 0 to 239 and not set aside."),
            ([0.5], 3, "got queries of shape [1] and dtype float64; wanted at least one row's number."),
            ([0], 240, "got 240 rows to find 240 neighbours in; wanted at least 1 neighbour and more rows."),
        ],
    )
    def test_bad_requests_get_one_sentence(self, queries, k, message):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            nearest_rows(chunked(correlated()), queries, k)

    def test_rows_that_are_not_finite_are_refused(self):
        rows = correlated()
        rows[217, 3] = np.nan
        with pytest.raises(
            ValueError, match=r"^got NaN or infinite numbers in row 217; wanted finite numbers: drop such rows\.$"
        ):
            nearest_rows(chunked(rows), [0], 3)


class TestBadRows:
    def test_numbers_that_are_not_finite_are_counted_and_placed(self):
        rows = correlated()
        rows[117, 3], rows[130, 0], rows[131] = np.nan, np.inf, -np.inf
        message = (
            "got NaN or infinite numbers in 3 of 240 rows (the first is row 117); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16."
        )
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            large(chunked(rows))

    @pytest.mark.parametrize(
        ("n_components", "more", "message"),
        [
            (
                None,
                {},
                "got n_components=None for rows that are read in passes, whose scores have to fit in memory; choose 1 to 20, "
                "a share of the variance, or 'parallel'.",
            ),
            (
                21,
                {},
                "got n_components=21 for 240 rows of 20 features; choose 1 to 20, a share of the variance between 0 and 1, 'parallel', or None.",
            ),
            (
                20,
                {"memory": 8 * 240 * 10},
                "got 20 components of 240 rows, 0.0 GiB of scores, for 0.0 GiB of memory; wanted at least 1 and at most 10 components: "
                "choose fewer, or raise memory.",
            ),
            (
                2,
                {"memory": 8 * 240 * 10},
                "got chunks of 100 rows of 20 features, each of which takes 0 MiB to work on; wanted at most 0: rechunk the rows, or raise memory.",
            ),
            (
                2,
                {"landmarks": 40, "sample_rows": 30},
                "got landmarks=40 for a sample of 30 rows; wanted at least 3 rows, and more than landmarks: take fewer landmarks, "
                "or raise sample_rows or memory.",
            ),
            (
                2,
                {"landmarks": 300},
                "got landmarks=300 for 240 rows; wanted at least 3 and at most as many as rows.",
            ),
            (
                2,
                {"within": [1, 2]},
                "got 2 values for within and 240 rows; wanted one value a row: pass the same rows in both.",
            ),
        ],
    )
    def test_bad_requests_get_one_sentence_in_time(self, n_components, more, message):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            large(chunked(correlated()), n_components, **more)

    def test_too_many_groups_are_refused(self):
        with pytest.raises(
            ValueError, match=r"^got 240 groups in within, whose means take 0\.0 GiB; wanted at most 100"
        ):
            large(chunked(correlated(), (10,)), 2, within=np.arange(240), memory=4 * 8 * 20 * 100)

    def test_arrays_that_are_no_rows_are_refused(self):
        message = "got points of shape [240]; wanted [row, d_model] with at least one of each."
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            large(da.from_array(correlated()[:, 0]))
        rows = chunked(correlated())
        message = "got a dask array that does not know the sizes of its chunks; call its compute_chunk_sizes() first."
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            large(rows[rows[:, 0] > 0])

    def test_rows_on_disk_cannot_be_computed_on_by_mistake(self):
        found = large(chunked(correlated()))
        assert found.source.points.shape == (240, 20)
        assert np.isnan(found.source.points).all()


class TestPasses:
    def test_each_pass_reads_each_chunk_once(self):
        source = Source(correlated())
        rows = da.from_array(source, chunks=(50, 20), asarray=False, name=False)
        source.reads = 0
        found = large(rows)
        assert source.reads == 3 * 5  # norms, moments, scores
        found.means(found.assigned()[0])
        assert source.reads == 4 * 5

    @pytest.mark.parametrize("chunks", [40, 400])
    def test_few_chunks_are_alive_however_many_there_are(self, chunks):
        source = Source(np.random.default_rng(0).normal(size=(chunks * 5, 8)))
        rows = da.from_array(source, chunks=(5, 8), asarray=False, name=False)
        source.most = 0
        with dask.config.set(num_workers=2):
            large(rows)
        assert source.most <= 6
        assert source.alive <= 2  # what the threads had last

    def test_fewer_chunks_are_worked_on_where_there_is_less_memory(self):
        rows = chunked(correlated())
        one = 4 * 8 * 100 * 20
        with dask.config.set(num_workers=8):
            assert Passes(rows, 2 * one)._room(0) == (1, 64)
            assert Passes(rows, 7 * one)._room(0) == (3, 64)
            assert Passes(rows, 2**30)._room(0) == (8, 64)
            assert Passes(rows, 2**30)._room(2**27) == (3, 4)

    def test_progress_is_told_by_rows(self):
        told = []
        large(chunked(correlated(), (1,) * 240), progress=lambda *args: told.append(args))
        assert [what for what, done, _ in told if done == 0] == ["norms", "mean and covariance", "scores"]
        assert [done for what, done, _ in told if what == "norms"] == [0, 64, 128, 192, 240]
        assert {total for *_, total in told} == {240}

    def test_a_bar(self, capsys):
        large(chunked(correlated()), progress=True)  # too quick to be shown
        assert "norms" not in capsys.readouterr().out

    def test_an_interrupted_pass_says_how_far_it_was(self, tmp_path, monkeypatch):
        monkeypatch.setattr("nbinterp.clouds.store.CHUNK_BYTES", 4 * 20)
        cloud = Cloud.from_arrays({planted.SITE: correlated()}, None, planted.info(20)).save(tmp_path / "c")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

        def stop(what, done, total):
            if what == "mean and covariance" and done == 128:
                raise KeyboardInterrupt

        with pytest.raises(
            KeyboardInterrupt,
            match=r"^stopped in the pass for mean and covariance after 128 of 240 rows; nothing was written\.$",
        ):
            large(cloud, progress=stop)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        assert isinstance(large(cloud), LargePrepared)

    def test_an_interrupt_while_chunks_are_worked_on(self, monkeypatch):
        def stop(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr("dask.base.compute", stop)
        with pytest.raises(
            KeyboardInterrupt, match=r"^stopped in the pass for norms after 0 of 240 rows; nothing was written\.$"
        ):
            large(chunked(correlated()))


class TestClouds:
    @pytest.fixture
    def saved(self, tmp_path, monkeypatch):
        monkeypatch.setattr("nbinterp.clouds.store.CHUNK_BYTES", 4 * 64 * 50)
        rows, labels, groups = planted.labelled(planted.circle(12))
        return planted.cloud_of(rows, labels, groups).save(tmp_path / "c")

    def test_rows_are_handed_out_lazily_in_the_chunks_of_the_folder(self, saved):
        lazy = saved.lazy()
        assert lazy.dims == ("row", "feature")
        assert lazy.dtype == np.float32
        assert lazy.chunks == ((50, 50, 50, 30), (64,))
        np.testing.assert_array_equal(lazy.to_numpy(), saved.points)
        assert saved.lazy(planted.SITE).identical(lazy)
        with pytest.raises(LookupError, match=re.escape("which is no site of this cloud")):
            saved.lazy("resid_post.2")

    def test_nothing_is_read_before_it_is_asked_for(self, saved, monkeypatch):
        lazy = saved.lazy()
        for file in (saved.path / planted.SITE / "c").rglob("0"):
            if file.is_file():
                file.unlink()
                break
        assert np.isnan(lazy.to_numpy()).any()

    def test_a_selection_is_cut_where_files_end(self, saved):
        part = saved.select(np.arange(30, 180, 3))
        assert part.lazy().chunks[0] == (7, 17, 16, 10)
        np.testing.assert_array_equal(part.lazy().to_numpy(), saved.points[30:180:3])
        again = part.select(part.table["month"] == "May")
        np.testing.assert_array_equal(again.lazy().to_numpy(), again.points)
        order = np.random.default_rng(0).permutation(180)
        np.testing.assert_array_equal(saved.select(order).lazy().to_numpy(), saved.points[order])
        assert saved.select([]).lazy().shape == (0, 64)

    def test_how_selections_are_cut(self):
        assert read_sizes(np.arange(10), 4) == (4, 4, 2)
        assert read_sizes(np.array([0, 3, 4, 9]), 4) == (2, 1, 1)
        assert read_sizes(np.array([9, 0, 8, 1]), 4) == (4,)
        assert read_sizes(np.zeros(9, dtype=int), 4) == (4, 4, 1)

    def test_a_cloud_in_memory(self):
        cloud = planted.months()
        assert cloud.lazy().chunks == ((180,), (64,))
        np.testing.assert_array_equal(cloud.select([5, 2]).lazy().to_numpy(), cloud.points[[5, 2]])

    def test_rows_of_a_collection_that_is_not_finished(self, tmp_path, monkeypatch):
        monkeypatch.setattr("nbinterp.clouds.store.CHUNK_BYTES", 4 * 20 * 50)
        rows = correlated()
        writer = CloudWriter(240, [planted.SITE], planted.info(20), None, tmp_path / "c", key="k")
        done = np.setdiff1d(np.arange(240), np.arange(60, 130))
        writer.write(done, {planted.SITE: rows[done]})
        partial = Cloud.open(tmp_path / "c", partial=True)
        assert partial.lazy().chunks[0] == (50, 10, 20, 50, 40)
        np.testing.assert_allclose(large(partial).scores, Preparation(3).fit_transform(rows[done]), atol=1e-3)

    def test_they_are_prepared_as_in_memory(self, saved):
        wanted = prepare(saved, 2, within="template")
        found = prepare_large(saved, 2, within="template", landmarks=10, progress=False)
        assert (found.prepared.site, found.prepared.model) == (saved.site, saved.model)
        pd.testing.assert_frame_equal(found.source.table, saved.table)
        pd.testing.assert_frame_equal(found.prepared.table, saved.table.iloc[found.sample])
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        assert found.provenance == (
            "180 rows of 64 features at resid_post.3; components of all, in passes over 4 chunks; 180 rows drawn at random; "
            "centred within template; the first 2 principal components, 10 k-means landmarks; 10 points"
        )
        assert repr(found).startswith("LargePrepared: 10 × 2\n")

    def test_points_are_never_read_whole(self, saved, monkeypatch):
        monkeypatch.setattr(Cloud, "_read", lambda *_: pytest.fail("all rows were read"))
        prepare_large(saved, 2, landmarks=10, progress=False)
        nearest_rows(saved, [0, 1], 3)
