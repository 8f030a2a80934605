"""Objects from an API server: list once, then watch, for each resource in a thread of its own.

The conversation is that of client-go's reflectors: paged consistent lists; watches from the list's resource
version with bookmarks; a new list when the server has forgotten that version (410). A list goes to the owner as one
`Listed` value, which is compared with what is known: nothing flaps, and what vanished meanwhile is found. A list
that broke off anywhere is thrown away, so no fault makes the agent forget an object that still exists.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from ipvsagent.errors import SourceError
from ipvsagent.garbage_collection import without_garbage_collection
from ipvsagent.model.events import Changed, Deleted, Event, Listed, Rejected, SourceProblems
from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem
from ipvsagent.source.backoff import Backoff
from ipvsagent.source.decode import DecodeResult, NotUsed, Unusable, Usable, decode_json
from ipvsagent.source.node_addresses import NodeAddressPoller
from ipvsagent.source.node_presence import NodePresenceQuestions
from ipvsagent.source.transport import Answer, Transport

STOP_SECONDS = 2.0
PAGE_SIZE = 500
LIST_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = (300, 600)  # the server ends a watch after a random time between these
GONE = 410
UNAUTHORIZED = 401
TOO_MANY_REQUESTS = 429


class Resource(msgspec.Struct, frozen=True):
    """What to list and watch."""

    kind: Kind
    path: str
    label_selector: str = ""
    field_selector: str = ""


def resources(node_name: str) -> tuple[Resource, ...]:
    """The three resources; selectors leave out on the server what is not used (SVC-01, EP-01)."""
    return (
        Resource(
            Kind.SERVICE,
            "/api/v1/services",
            label_selector="!service.kubernetes.io/service-proxy-name",
            field_selector="spec.clusterIP!=None",
        ),
        Resource(
            Kind.ENDPOINT_SLICE,
            "/apis/discovery.k8s.io/v1/endpointslices",
            label_selector="!service.kubernetes.io/headless",
        ),
        Resource(Kind.NODE, "/api/v1/nodes", field_selector=f"metadata.name={node_name}"),
    )


class _ListMetadata(msgspec.Struct):
    resourceVersion: str  # noqa: N815 - the API's name
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    """A page. `metadata` is required: an answer without it is not a list, whatever its status."""

    metadata: _ListMetadata
    items: list[msgspec.Raw] | None


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - the API's name


class _OnlyMetadata(msgspec.Struct):
    metadata: _Metadata


class _ApiStatus(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Refused(SourceError):
    """The server answered, but not with what was asked for."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"the API server answered {status}: {message}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Reflector:
    """Follows one resource.

    Args:
        put: takes events; may be called from the reflector's thread.
        sleep: waits for seconds, or less when the reflector is to stop.
        clock: monotonic seconds.
        randomness: spreads watch times and delays.
    """

    def __init__(
        self,
        resource: Resource,
        transport: Transport,
        put: Callable[[Event], None],
        *,
        sleep: Callable[[float], object],
        page_size: int = PAGE_SIZE,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._resource = resource
        self._transport = transport
        self._put = put
        self._sleep = sleep
        self._page_size = page_size
        self._clock = clock
        self._random = randomness or random.Random()
        self._backoff = Backoff(self._random)
        self._version: str | None = None  # resource version to watch from; None: list first
        self._known: set[ObjectKey] = set()  # keys only, to tell an implausibly empty list
        self._failing = False
        self.last_contact = clock()  # when the server last answered as it should

    def step(self) -> None:
        """List if that is due, else watch until the watch ends; wait after a failure."""
        try:
            if self._version is None:
                self._version = self._list()
            else:
                self._watch(self._version)
        except _Refused as error:
            self._refused(error)
        except (SourceError, msgspec.DecodeError) as error:
            self._failed(str(error), None)
        else:
            self._well()

    # -- listing -----------------------------------------------------------------------------------------------

    def _list(self) -> str:
        listed = self._list_pages(self._page_size)
        if not listed[1] and self._known:
            # A cluster has Services as long as it has an API server; believe it only if it says so twice.
            self._sleep(1.0)
            listed = self._list_pages(self._page_size)
        version, items = listed
        objects: list[KubernetesObject] = []
        rejected: list[ObjectKey] = []
        problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        with without_garbage_collection():
            for item in items:
                match decode_json(self._resource.kind, item):
                    case Usable(found, found_problems):
                        objects.append(found)
                        if found_problems:
                            problems[found.key] = found_problems
                    case Unusable(_, key, found_problems):
                        rejected.append(key)
                        problems[key] = found_problems
        self._known = {o.key for o in objects} | set(rejected)
        self._put(Listed(self._resource.kind, tuple(objects), tuple(rejected), problems))
        return version

    def _list_pages(self, page_size: int) -> tuple[str, list[msgspec.Raw]]:
        items: list[msgspec.Raw] = []
        token = ""
        while True:
            try:
                page = self._page(page_size, token)
            except _Refused as error:
                if error.status == GONE and token:  # the token expired: all at once, as client-go does
                    return self._list_pages(0)
                raise
            items += page.items or ()
            token = page.metadata.continue_
            if not token:
                return page.metadata.resourceVersion, items

    def _page(self, page_size: int, token: str) -> _List:
        query = self._query()
        if page_size:
            query["limit"] = str(page_size)
        if token:
            query["continue"] = token
        with self._transport.get(self._resource.path, query, read_timeout_seconds=LIST_TIMEOUT_SECONDS) as answer:
            _check(answer)
            page = msgspec.json.decode(answer.read(), type=_List)
        self.last_contact = self._clock()
        if not page.metadata.resourceVersion:
            raise SourceError("the API server's list has no resource version")
        return page

    # -- watching ----------------------------------------------------------------------------------------------

    def _watch(self, version: str) -> None:
        seconds = self._random.randint(*WATCH_SECONDS)
        query = self._query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        began = self._clock()
        with self._transport.get(
            self._resource.path, query, read_timeout_seconds=seconds + LIST_TIMEOUT_SECONDS
        ) as answer:
            _check(answer)
            self.last_contact = self._clock()
            self._well()
            heard = self._hear(answer.lines())
        if not heard and self._clock() - began < 1.0:
            raise SourceError("the API server ended the watch at once")

    def _hear(self, lines: Iterator[bytes]) -> bool:
        heard = False
        for line in lines:
            if not line.strip():
                continue
            event = msgspec.json.decode(line, type=_WatchEvent)
            if event.type == "ERROR":
                status = msgspec.json.decode(event.object, type=_ApiStatus)
                raise _Refused(status.code, status.message)
            self._hear_object(event)
            self.last_contact = self._clock()
            heard = True
        return heard

    def _hear_object(self, event: _WatchEvent) -> None:
        version = msgspec.json.decode(event.object, type=_OnlyMetadata).metadata.resourceVersion
        if event.type != "BOOKMARK":
            self._tell(event.type, decode_json(self._resource.kind, event.object))
        if version:
            self._version = version

    def _tell(self, event_type: str, result: DecodeResult) -> None:
        kind = self._resource.kind
        match result:
            case Usable(found, _) if event_type == "DELETED":
                self._known.discard(found.key)
                self._put(Deleted(kind, found.key))
            case Usable(found, problems, triggered_at):
                self._known.add(found.key)
                self._put(Changed(found, problems, triggered_at))
            case Unusable(_, key, _) if event_type == "DELETED":
                self._known.discard(key)
                self._put(Deleted(kind, key))
            case Unusable(_, key, problems):
                self._known.add(key)
                self._put(Rejected(kind, key, problems))
            case NotUsed(_, key):
                self._known.discard(key)
                self._put(Deleted(kind, key))

    # -- failures ----------------------------------------------------------------------------------------------

    def _query(self) -> dict[str, str]:
        query = {}
        if self._resource.label_selector:
            query["labelSelector"] = self._resource.label_selector
        if self._resource.field_selector:
            query["fieldSelector"] = self._resource.field_selector
        return query

    def _refused(self, error: _Refused) -> None:
        if error.status == GONE:
            self._version = None
        if error.status == UNAUTHORIZED:
            try:
                self._transport.renew()
            except SourceError as renewal:
                self._failed(str(renewal), None)
                return
        self._failed(str(error), error.retry_after_seconds)

    def _failed(self, reason: str, retry_after_seconds: float | None) -> None:
        self._failing = True
        problem = Problem("API server", self._resource.path, "", reason)
        self._put(SourceProblems(self._resource.path, (problem,)))
        self._sleep(self._backoff.failed(retry_after_seconds))

    def _well(self) -> None:
        self._backoff.succeeded()
        if self._failing:
            self._failing = False
            self._put(SourceProblems(self._resource.path, ()))


class ApiSource:
    """Follows Services, EndpointSlices, this node and the addresses of all nodes, each in a thread.

    Args:
        patience: factor for all delays after failures.
        page_size: objects a page of a list.
    """

    def __init__(
        self,
        transport: Transport,
        node_name: str,
        put: Callable[[Event], None],
        *,
        patience: float = 1.0,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._transport = transport
        self._put = put
        self._stopping = threading.Event()
        self._reflectors = [
            Reflector(
                r,
                transport,
                self._put_unless_stopping,
                sleep=lambda seconds: self._stopping.wait(seconds * patience),
                page_size=page_size,
            )
            for r in resources(node_name)
        ]
        self._poller = NodeAddressPoller(
            transport, self._put_unless_stopping, wait=lambda seconds: self._stopping.wait(seconds * patience)
        )
        self._threads = [threading.Thread(target=self._follow, args=(r,), daemon=True) for r in self._reflectors]
        self._questions = NodePresenceQuestions(
            transport, self._put_unless_stopping, wait=lambda seconds: self._stopping.wait(seconds * patience)
        )
        self._threads += [
            threading.Thread(target=other.follow, daemon=True) for other in (self._poller, self._questions)
        ]

    def start(self) -> None:
        """Begin to list and watch."""
        for thread in self._threads:
            thread.start()

    def silence_seconds(self) -> float:
        """How long ago the server last answered as it should, for the resource for which that is longest."""
        now = time.monotonic()
        return max(now - reflector.last_contact for reflector in self._reflectors)

    def ask_for_node(self, name: str) -> None:
        """Ask whether the cluster has a node; the answer comes as `NodePresence`."""
        self._questions.ask(name)

    def stop(self) -> None:
        """End it. A thread that is about to connect has two seconds, then it ends with the process."""
        self._stopping.set()
        self._poller.asked.set()
        self._questions.ask("")
        self._transport.close()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _put_unless_stopping(self, event: Event) -> None:
        if not self._stopping.is_set():  # connections that are ended on purpose are no problem to report
            self._put(event)

    def _follow(self, reflector: Reflector) -> None:
        self._poller.asked.wait()  # or a first sync might bind what is another node's
        while not self._stopping.is_set():
            reflector.step()


def _check(answer: Answer) -> None:
    """Raise unless the answer is a success."""
    if answer.status == 200:
        return
    body = answer.read()
    try:
        message = msgspec.json.decode(body, type=_ApiStatus).message
    except msgspec.DecodeError:
        message = body[:200].decode("utf-8", "replace")
    raise _Refused(answer.status, message, answer.retry_after_seconds)
