"""What a running server does beside serving."""

import os
import stat
import time

import pytest

from nbinterp.serving import head


def test_old_answers_are_forgotten_and_new_ones_kept(tmp_path):
    (tmp_path / "bucket").mkdir()
    old, new = tmp_path / "bucket" / "old.pt", tmp_path / "bucket" / "new.pt"
    for file in (old, new):
        file.write_bytes(b"answer")
    now = time.time()
    os.utime(old, (now - 100, now - 100))
    head.forget(tmp_path, now - 50)
    assert not old.exists()
    assert new.exists()


def test_a_secret_is_for_the_user_only_from_its_first_moment(tmp_path):
    secret = head.write_secret(tmp_path / "token", "x")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):  # nor into a file that somebody else has put there
        head.write_secret(secret, "y")
