"""A job on a server: sent, waited for, found again, and its answer."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import httpx
import nnsight
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.schema.response import ResponseModel, Status
from pydantic import ValidationError

from nbinterp.hosted.connection import HostedError
from nbinterp.hosted.courier import PROGRESS, perform
from nbinterp.hosted.keys import scrubbed
from nbinterp.hosted.luggage import Opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbinterp.hosted.connection import Connection
    from nbinterp.hosted.luggage import Luggage

_FIRST_WAIT, _LONGEST_WAIT = 0.005, 0.5
"""Seconds between two looks at a job: short work is asked after often, long work seldom."""
_PATIENCE = 60.0
"""Seconds for which a server may be out of reach before waiting is given up."""
_NOT_BEGUN = ("Error starting model.", "Error provisioning model.")
"""What a server says of jobs that it never began."""
_UNKNOWN = 10.0
"""Seconds for which a server may know nothing of a job."""


class JobFailed(HostedError):
    """A job raised on the server.

    Parameters
    ----------
    message : str
        What it raised, and where.
    report : str
        The server's traceback.
    """

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report


class UnreachableError(HostedError):
    """A server does not answer, or has a fault of its own, which may pass."""


class NotBegunError(JobFailed):
    """A job whose model the server could not start: nothing of it has run."""


@dataclass(frozen=True)
class News:
    """How a job stands.

    Parameters
    ----------
    id : str
        Of the job.
    status : str
        As the server says: ``"RECEIVED"``, ``"QUEUED"``, ``"PROVISIONING"``, ``"DEPLOYING"``, ``"DISPATCHED"``,
        ``"RUNNING"``, ``"LOG"``, ``"COMPLETED"`` or ``"ERROR"``.
    text : str
        What it says beside it, such as the place in the queue; for a log line the line.
    done : int
        How much of what is yielded one by one is there.
    """

    id: str
    status: str
    text: str = ""
    done: int = 0


class Job:
    """A job that was sent.

    Parameters
    ----------
    connection : Connection
        To the server that has it.
    id : str
        Its id, from the server.
    made : callable
        Given what came back, returns the answer.

    Attributes
    ----------
    news : News
        How it stood when it was last looked at.
    log : list of str
        What it printed.
    answer : object
        What came of it, once it has ended.
    cost : mapping or None
        What the server says that it cost, once it has ended.
    """

    def __init__(self, connection: Connection, id: str, made: Callable[[Any], Any] = lambda found: found) -> None:
        self.host, self.id = connection.host, id
        self.news = News(id, "RECEIVED")
        self.log: list[str] = []
        self.answer: Any = None
        self._connection, self._made = connection, made
        self._backend = _Backend("", connection, job_id=id, told=self._told)

    def __repr__(self) -> str:
        return f"Job({self.id!r} on {self.host}: {self.news.status.lower()}{self.news.text and f', {self.news.text}'})"

    @property
    def cost(self) -> dict[str, Any] | None:
        """What the server says that it cost, once it has ended."""
        return cast("dict[str, Any] | None", self._backend.meta)

    def look(self) -> bool:
        """Ask the server how it stands; return whether it has ended and its `answer` is there.

        Raises
        ------
        JobFailed
            Where it raised.
        UnreachableError
            Where the server does not answer, or has a fault of its own.
        HostedError
            Where it refuses to say.
        """
        try:
            found = self._backend.poll()
        except RemoteError as error:
            raise _failed(scrubbed(str(error), self._connection.key)) from None
        except httpx.TransportError as error:
            raise UnreachableError(f"{self.host} does not answer: {error}") from None
        except httpx.HTTPStatusError as error:
            reason = scrubbed(_reason(error.response), self._connection.key)
            kind = UnreachableError if error.response.is_server_error else HostedError
            raise kind(f"{self.host} does not say how job {self.id} stands: {reason}") from None
        if found is not None:
            streamed, answer = Opened(io.BytesIO(found["answer"])).load()
            self.answer = self._made(iter(answer) if streamed else answer)
        return found is not None

    def wait(
        self, *, cancel: Callable[[], bool] = lambda: False, told: Callable[[News], object] = lambda news: None
    ) -> Any:
        """Wait for its end and return its answer.

        Parameters
        ----------
        cancel : callable
            Asked between two looks; True ends the waiting with KeyboardInterrupt. The job goes on: no server of NDIF can be told
            to stop one.
        told : callable
            Given each piece of news.

        Raises
        ------
        JobFailed
            Where it raised.
        HostedError
            Where the server cannot be reached for a minute, or knows nothing of it.
        """
        pause, last = _FIRST_WAIT, self.news
        heard = known = time.monotonic()
        while True:
            try:
                if self.look():
                    return self.answer
                heard = time.monotonic()
            except UnreachableError as error:
                # a connection heals, a server is started again
                if time.monotonic() - heard > _PATIENCE:
                    raise HostedError(
                        f"{error}; that for {_PATIENCE:.0f} s: the job may have gone on, and model.attach({self.id!r}, …) asks after it."
                    ) from None
                known = time.monotonic()
            if self.news != last:
                last, pause = self.news, min(pause, 0.05)
                told(last)
            if self._backend.status is None and time.monotonic() - known > _UNKNOWN:
                raise HostedError(
                    f"{self.host} knows nothing of job {self.id}; it may have been started again, and has then lost it: send it anew."
                )
            if cancel():
                raise KeyboardInterrupt
            time.sleep(pause)
            pause = min(1.3 * pause, _LONGEST_WAIT)

    def _told(self, response: ResponseModel) -> None:
        done, text = self.news.done, response.description
        if response.status == Status.LOG:
            for line in text.splitlines():
                if line.startswith(PROGRESS):
                    done = int(line.removeprefix(PROGRESS))
                else:
                    self.log.append(line)
        self.news = News(self.id, response.status.value, "" if text.startswith(PROGRESS) else text, done)


def send(model: Any, luggage: Luggage, connection: Connection) -> str:
    """Send a call to where a model is, and return its job's id.

    Parameters
    ----------
    model : nnsight.TransformersModel
        Without weights.
    luggage : Luggage
        The call.
    connection : Connection
        Where to.

    Raises
    ------
    HostedError
        Where the server cannot be reached or refuses it; a call that may have arrived is not sent again.
    """
    name, sources, request = luggage.name, luggage.sources, luggage.request
    backend = _Backend(model.to_model_key(), connection)
    try:
        with model.session(backend=backend):
            answer = nnsight.save(perform(model, name, sources, request))  # noqa: F841
    except RemoteError as error:
        reason = scrubbed(str(error), connection.key)
        raise HostedError(f"{connection.host} did not take the job: {reason}") from None
    assert backend.job_id is not None
    return str(backend.job_id)


def answer_of(sent: Callable[[], Job], cancel: Callable[[], bool] = lambda: False) -> Any:
    """Return the answer of a job, as `Job.wait`; one that was never begun is sent again, twice at most.

    Parameters
    ----------
    sent : callable
        Sends the job, and returns it.
    cancel : callable
        As for `Job.wait`.
    """
    for pause in (1.0, 4.0):
        try:
            return sent().wait(cancel=cancel)
        except NotBegunError:
            time.sleep(pause)
    return sent().wait(cancel=cancel)


class _Backend(RemoteBackend):  # type: ignore[misc]
    """nnsight's own backend, whose news go to a job and not to the screen, and whose connection is kept open."""

    def __init__(
        self,
        model_key: str,
        connection: Connection,
        job_id: str | None = None,
        told: Callable[[ResponseModel], object] = lambda response: None,
    ) -> None:
        super().__init__(model_key, connection.host.url, blocking=False, job_id=job_id)
        # without one of ours the base class takes nnsight's, which belongs to another server
        self.api_key = ""
        self.display.enabled = False
        self._connection, self._told = connection, told

    def note(self, response: ResponseModel) -> bool:
        """Pass news on; see the base class."""
        self._told(response)
        return bool(super().note(response))

    def poll(self, tracer: Any = None) -> Any:
        """Ask how the job stands; see the base class."""
        answer = self._connection.client.get(f"/response/{self.job_id}")
        # no status was written down yet
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        try:
            response = ResponseModel.model_validate_json(answer.text)
        except ValidationError:
            # some stores hand out what is only half written
            return None
        self.status = response.status
        return self.handle(response)

    def _post(self, request: Any, blob: bytes) -> ResponseModel:
        headers = {
            "ndif-timestamp": repr(time.time()),
            "nnsight-version": version("nnsight"),
            "python-version": sys.version,
        }
        try:
            answer = self._connection.client.post(
                "/request",
                data={"data": request.metadata()},
                files={"blob": ("request", blob, "application/octet-stream")},
                headers=headers,
            )
        except httpx.TransportError as error:
            raise RemoteError(f"it cannot be reached ({error})") from None
        if answer.is_error:
            raise RemoteError(_reason(answer))
        return ResponseModel.model_validate_json(answer.text)

    def download_result(self, url: str | bytes | None) -> Any:
        """Fetch an answer, where it did not come along; see the base class."""
        if not url or isinstance(url, bytes | bytearray):
            return super().download_result(url)
        return self.finalize(self._connection.fetch(url))


def _reason(answer: httpx.Response) -> str:
    """Return why a server refused a request, in its own words where it has any."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:300] or answer.reason_phrase
    return f"{detail} (HTTP {answer.status_code})"


def _failed(report: str) -> JobFailed:
    """Return what a server's traceback says, with the line of the user's own that it came from."""
    last = next((line for line in reversed(report.splitlines()) if line.strip()), "no reason was given")
    kind = NotBegunError if report.startswith(_NOT_BEGUN) else JobFailed
    return kind(f"the job failed at the hosted model: {last}", report)


nnsight.register("nbinterp.hosted.courier")
