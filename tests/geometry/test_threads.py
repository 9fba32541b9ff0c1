import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nbinterp.geometry.threads import one_thread


def n_threads():
    return {pool["num_threads"] for pool in threadpool_info()}


@pytest.fixture
def two_threads():
    with threadpool_limits(2):
        yield


def test_the_limit_holds_inside_and_no_longer(two_threads):
    with one_thread:
        with one_thread:
            assert n_threads() == {1}
        assert n_threads() == {1}
    assert n_threads() == {2}


def test_an_error_lifts_it_too(two_threads):
    with pytest.raises(KeyError), one_thread:
        raise KeyError
    assert n_threads() == {2}
