import subprocess
import sys

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


def test_a_library_that_is_loaded_later_is_limited_too():
    code = """
from nbinterp.geometry.threads import one_thread
with one_thread:
    pass
import torch
from threadpoolctl import threadpool_info, threadpool_limits
with threadpool_limits(2), one_thread:
    print({pool["num_threads"] for pool in threadpool_info()})
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("{1}")


def test_an_error_lifts_it_too(two_threads):
    with pytest.raises(KeyError), one_thread:
        raise KeyError
    assert n_threads() == {2}
