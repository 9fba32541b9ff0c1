"""Waiting for a job whose server stumbles."""

import pytest

from nbinterp.hosted import jobs
from nbinterp.hosted.connection import Connection, HostedError
from nbinterp.hosted.hosts import Host
from nbinterp.hosted.jobs import Job, JobFailed, NotBegunError, answer_of
from tests.hosted.loopback import loopback

AT = "/response/abc"


def said(status, description=""):
    return 200, {"id": "abc", "status": status, "description": description}


def job_at(server):
    return Job(Connection(Host.of(server.url), None), "abc")


def test_what_is_only_half_written_is_asked_for_again():
    with loopback({AT: (200, '{"id": "abc", "status": "RUNN')}) as server:
        job = job_at(server)
        assert not job.look()
        server.answers[AT] = said("QUEUED", "Moved to position 2 in Queue.")
        assert not job.look()
        assert (job.news.status, job.news.text) == ("QUEUED", "Moved to position 2 in Queue.")
        assert repr(job) == f"Job('abc' on {server.url}: queued, Moved to position 2 in Queue.)"


def test_lines_that_it_prints_are_kept_and_progress_is_a_number():
    with loopback({AT: said("LOG", "hello\nnbinterp progress 3\nworld")}) as server:
        job = job_at(server)
        job.look()
    assert (job.log, job.news.done) == (["hello", "world"], 3)


def test_a_job_that_the_server_does_not_know_is_lost(monkeypatch):
    monkeypatch.setattr(jobs, "_UNKNOWN", 0.2)
    with loopback() as server, pytest.raises(HostedError, match="knows nothing of job abc; .* send it anew"):
        job_at(server).wait()


def test_a_connection_that_is_cut_heals():
    heard = []
    with loopback({AT: None}) as server:

        def cancel():
            # two looks failed; from now on it answers
            heard.append(len(server.requests))
            if len(heard) == 3:
                server.answers[AT] = said("ERROR", "the end")
            return False

        with pytest.raises(JobFailed, match="the job failed at the hosted model: the end"):
            job_at(server).wait(cancel=cancel)
    assert len(heard) >= 3


def test_a_server_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(jobs, "_PATIENCE", 0.2)
    with loopback({AT: None}) as server:
        job = job_at(server)
        with pytest.raises(
            HostedError,
            match=r"does not answer: .*; that for 0 s: the job may have gone on, and model.attach\('abc', …\) asks",
        ):
            job.wait()


def test_a_refusal_is_told_in_the_servers_words():
    with (
        loopback({AT: (401, {"detail": "who are you"})}) as server,
        pytest.raises(HostedError, match=r"how job abc stands: who are you \(HTTP 401\)"),
    ):
        job_at(server).wait()


def test_a_fault_of_the_server_may_pass_and_is_told_where_it_does_not(monkeypatch):
    with loopback({AT: (503, {"detail": "down for maintenance"})}) as server:

        def cancel():
            server.answers[AT] = said("ERROR", "the end")
            return False

        with pytest.raises(JobFailed, match="the end"):
            job_at(server).wait(cancel=cancel)
    monkeypatch.setattr(jobs, "_PATIENCE", 0.2)
    with (
        loopback({AT: (503, {"detail": "down for maintenance"})}) as server,
        pytest.raises(HostedError, match=r"stands: down for maintenance \(HTTP 503\); that for 0 s"),
    ):
        job_at(server).wait()


def test_the_news_are_told_once_each():
    told = []
    with loopback({AT: said("QUEUED", "first")}) as server:

        def hear(news):
            told.append(news.text)
            server.answers[AT] = said("RUNNING", "second") if len(told) == 1 else said("ERROR", "third")

        with pytest.raises(JobFailed):
            job_at(server).wait(told=hear)
    assert told == ["first", "second"]


def test_only_a_job_that_was_never_begun_is_sent_again(monkeypatch):
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: None)
    sent = []
    with loopback({AT: said("ERROR", "Error starting model. Please try again later.")}) as server:

        def send():
            sent.append(1)
            if len(sent) == 3:
                server.answers[AT] = said("ERROR", "Traceback (most recent call last):\nValueError: no")
            return job_at(server)

        with pytest.raises(JobFailed, match="ValueError: no") as caught:
            answer_of(send)
    assert len(sent) == 3
    assert not isinstance(caught.value, NotBegunError)
