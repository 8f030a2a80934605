"""Follow one resource of an API server: list once, then watch.

The protocol is that of client-go's reflectors: paged consistent lists; watches from the list's resource version with
bookmarks; a new list if the server has dropped that version (410), or if watches fail repeatedly without data. A list
goes to the owner as one `Listed` value, which is compared with the known objects: nothing flaps, and deletions are
found. An incomplete list is discarded, so no fault makes the agent forget an object that still exists.

Only data shows that a connection is healthy: a complete list, an event or a bookmark. An open connection does not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from ipvsagent.errors import SourceError
from ipvsagent.garbage_collection import without_garbage_collection
from ipvsagent.log import Logger
from ipvsagent.model.events import Changed, Deleted, Event, Listed, Rejected
from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem
from ipvsagent.source.backoff import Backoff
from ipvsagent.source.connection_state import ConnectionState
from ipvsagent.source.decode import DecodeResult, NotUsed, Unusable, Usable, decode_json
from ipvsagent.source.transport import Answer, NoAnswer, Silence, Transport

PAGE_SIZE = 500
LIST_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = (300, 600)  # the server ends a watch after a random time between these
SILENT_SECONDS = 120.0  # a server sends a bookmark about once a minute
FAULTS_BEFORE_LIST = 2
GONE = 410
TOO_MANY_REQUESTS = 429

_EVENT_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
_FAULTS = (SourceError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Resource(msgspec.Struct, frozen=True):
    """What to list and watch."""

    kind: Kind
    path: str
    label_selector: str = ""
    field_selector: str = ""


class _ListMetadata(msgspec.Struct):
    resourceVersion: str  # noqa: N815 - the API's name
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    """A page. `metadata` is required: an answer without it is not a list, whatever its status code."""

    metadata: _ListMetadata
    items: list[msgspec.Raw] | None
    kind: str = ""


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815 - the API's name


class _Head(msgspec.Struct):
    metadata: _Metadata
    kind: str = ""


class _ApiStatus(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Refused(SourceError):
    """The server answered, but not with the requested data."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"the API server answered {status}: {message}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Reflector:
    """Follows one resource.

    Args:
        put: takes events; may be called from the reflector's thread.
        state: gets a fault when following fails, and a recovery when data arrives again.
        sleep: waits for seconds, or less if the reflector must stop.
        silent_seconds: how long a watch may deliver neither event nor bookmark.
        clock: monotonic seconds.
        randomness: spreads watch times and delays.

    Attributes:
        confirmed_at: when the server last confirmed that the known objects are current: by a complete list, an event or
            a bookmark.
    """

    def __init__(
        self,
        resource: Resource,
        transport: Transport,
        put: Callable[[Event], None],
        *,
        state: ConnectionState,
        log: Logger,
        sleep: Callable[[float], object],
        page_size: int = PAGE_SIZE,
        silent_seconds: float = SILENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        randomness: random.Random | None = None,
    ) -> None:
        self._resource = resource
        self._transport = transport
        self._put = put
        self._state = state
        self._log = log
        self._sleep = sleep
        self._page_size = page_size
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._random = randomness or random.Random()
        self._backoff = Backoff(self._random, clock)
        self._version: str | None = None  # resource version to watch from; None: list first
        self._faults = 0  # of watches since one advanced the version
        self._watch_broke = False  # since then; a list alone does not show that watches work
        self._known: set[ObjectKey] = set()  # keys only, to recognise an implausibly empty list
        self.confirmed_at = clock()

    def step(self) -> None:
        """List if a list is due, otherwise watch until the watch ends; wait after a failure."""
        try:
            if self._version is None:
                began = self._clock()
                self._version = self._list()
                self.confirmed_at = self._clock()
                if not self._watch_broke:
                    self._state.recovered(self._resource.path, began)
            else:
                self._watch(self._version)
        except _Refused as error:
            self._refused(error)
        except NoAnswer as error:  # the version is still valid
            self._failed(str(error), watching=False)
        except _FAULTS as error:
            self._failed(_words(error), watching=self._version is not None)

    # -- listing -----------------------------------------------------------------------------------------------

    def _list(self) -> str:
        version, items = self._list_pages(self._page_size)
        if not items and self._known:
            # A cluster with an API server always has Services; accept an empty list only if the server sends it twice.
            self._sleep(1.0)
            version, items = self._list_pages(self._page_size)
            if not items:
                self._log.warning(
                    "the API server lists no objects any more", resource=self._resource.path, known=len(self._known)
                )
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
                if error.status == GONE and token:  # the token expired: list everything in one page, as client-go does
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
        self._check_kind(page.kind, f"{self._resource.kind.value}List")
        if not page.metadata.resourceVersion:
            raise SourceError("the API server's list has no resource version")
        return page

    def _query(self) -> dict[str, str]:
        query = {}
        if self._resource.label_selector:
            query["labelSelector"] = self._resource.label_selector
        if self._resource.field_selector:
            query["fieldSelector"] = self._resource.field_selector
        return query

    def _check_kind(self, given: str, wanted: str) -> None:
        if given and given != wanted:
            raise SourceError(f"the API server answered with another kind of object than {wanted}")

    # -- watching ----------------------------------------------------------------------------------------------

    def _watch(self, version: str) -> None:
        query = self._query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(self._random.randint(*WATCH_SECONDS)),
        }
        began = self._clock()
        heard = 0
        with self._transport.get(self._resource.path, query, read_timeout_seconds=self._silent_seconds) as answer:
            _check(answer)
            try:
                for line in answer.lines():
                    heard += self._hear(line, answer, began)
                    if heard == 2:  # the watch works, even if nothing in the cluster changes
                        self._state.recovered(self._resource.path, began)
            except Silence:
                self._silent()
                return
        if heard:
            self._progressed(began)
        elif self._clock() - began < 1.0:
            raise SourceError("the API server ended the watch immediately")
        else:
            self._silent()

    def _hear(self, line: bytes, answer: Answer, began: float) -> bool:
        """Process one line of a watch; return whether it proves that data arrives."""
        if not line.strip():
            return False
        event = msgspec.json.decode(line, type=_WatchEvent)
        if event.type not in _EVENT_TYPES:
            raise SourceError("the API server sent a watch event of an unknown type")
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_ApiStatus)
            raise _Refused(status.code, answer.without_secrets(status.message))
        head = msgspec.json.decode(event.object, type=_Head)
        self._check_kind(head.kind, self._resource.kind.value)
        if event.type != "BOOKMARK":
            self._tell(event.type, decode_json(self._resource.kind, event.object))
        self.confirmed_at = self._clock()
        if head.metadata.resourceVersion not in ("", self._version):
            self._version = head.metadata.resourceVersion
            self._progressed(began)
        return True

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

    # -- faults ------------------------------------------------------------------------------------------------

    def _progressed(self, began: float) -> None:
        """Note that watches work: the one that began at this time advanced the version, or ended normally."""
        self._faults = 0
        self._watch_broke = False
        self._backoff.succeeded()
        self._state.recovered(self._resource.path, began)

    def _silent(self) -> None:
        """List next if the server has confirmed nothing for longer than a watch may be silent."""
        if self._clock() - self.confirmed_at >= 2 * self._silent_seconds:
            self._log.debug("watch delivers nothing, listing again", resource=self._resource.path)
            self._version = None

    def _refused(self, error: _Refused) -> None:
        watching = self._version is not None
        if error.status == GONE and watching:
            self._version = None
            self._faults += 1
            if self._faults <= FAULTS_BEFORE_LIST:  # normal: the server has dropped old versions
                self._log.debug("resource version is too old, listing again", resource=self._resource.path)
                self._sleep(self._backoff.failed(error.retry_after_seconds))
                return
        # With "too many requests", the version may still be valid.
        self._failed(str(error), error.retry_after_seconds, watching=watching and error.status != TOO_MANY_REQUESTS)

    def _failed(self, reason: str, retry_after_seconds: float | None = None, *, watching: bool) -> None:
        """Note a fault and wait; list next if watches fail without delivering data.

        Args:
            watching: whether the server answered a watch, but not with data.
        """
        if watching:
            self._faults += 1
            self._watch_broke = True
            if self._faults >= FAULTS_BEFORE_LIST:
                self._version = None
        self._state.broke(self._resource.path, reason)
        self._sleep(self._backoff.failed(retry_after_seconds))


def _words(error: Exception) -> str:
    """Describe a failure, without texts of parsers, which may quote what the server sent."""
    return str(error) if isinstance(error, SourceError) else "the API server's answer cannot be parsed"


def _check(answer: Answer) -> None:
    """Raise unless the answer is a success."""
    if answer.status != 200:
        raise _Refused(answer.status, answer.message(), answer.retry_after_seconds)
