"""Everything that this service counts about itself, and how others tell it: one function for each thing that happens.

No label names a person, a session, an order or an address, and each has few values. What only the database knows is
counted there when Prometheus asks (app/metrics/).
"""

import resource
from collections.abc import Callable
from pathlib import Path

from app.measuring import Joined, Labels, Measures, Named

ALL = Measures()

ROUTE_CLASSES = ("exchange", "orders", "books", "portfolio", "funds", "profile", "margin", "webhooks")
"""The classes of the broker's routes, as `broker/paths.py` has them."""
_STREAMS = frozenset({"/v1/order-updates"})
"""Answers that last as long as somebody listens: counted, and not timed."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"})
_CLASSES = ("-", "1xx", "2xx", "3xx", "4xx", "5xx")
_TOLD_APART = {status: str(status) for status in (401, 403, 404, 405, 429)}
"""Statuses of the broker's that mean something of their own (docs/broker.md)."""
_LAST_CLASS = 5
_NONE: Labels = ()
_OWN = Path("/proc/self")  # of Linux; elsewhere nothing is told of memory and files


def _each(values: tuple[str, ...]) -> list[Labels]:
    return [(value,) for value in values]


_requests = ALL.timer(
    Named("partner_requests_total", "Requests answered", ("route", "method", "outcome", "problem")),
    Named("partner_request_seconds", "How long they took, without streams", ("route", "method")),
)
_own_faults = ALL.counter("partner_internal_errors_total", "Requests that met a fault of our own")
_under_pressure = ALL.counter(
    "partner_requests_refused_under_pressure_total", "Requests refused since too many were under way"
)
_broker_calls = ALL.timer(
    Named("partner_broker_calls_total", "Calls to the broker that have ended", ("route_class", "answer")),
    Named("partner_broker_call_seconds", "How long they took", ("route_class",)),
)
_order_calls = ALL.counter(
    "partner_order_calls_total", "What calls that do something at the broker have come to", ("action", "outcome")
)
_not_understood = ALL.counter(
    "partner_broker_answers_not_understood_total", "Answers of the broker in no known form",
    ("route_class",), _each(ROUTE_CLASSES),
)  # fmt: skip
_drift = ALL.counter(
    "partner_broker_drift_total", "Words, numbers and times of the broker's that are unknown or can't be read",
    ("kind",),
    _each(("status", "number", "time", "type", "transaction type", "order type", "product", "validity", "variety")),
)  # fmt: skip
_failing = ALL.gauge(
    "partner_broker_route_failing", "1 where a class of calls fails over and over", ("route_class",), Joined.LARGEST
)
_spared = ALL.counter(
    "partner_broker_calls_spared_total", "Calls not made while their class failed", ("route_class",),
    _each(ROUTE_CLASSES),
)  # fmt: skip
_retried = ALL.counter(
    "partner_broker_reads_retried_total", "Reads put to the broker a second time", ("route_class",),
    _each(ROUTE_CLASSES),
)  # fmt: skip
_crowded_out = ALL.counter(
    "partner_broker_calls_crowded_out_total", "Calls refused since too many of their class were under way",
    ("route_class",), _each(ROUTE_CLASSES),
)  # fmt: skip
_refused = ALL.counter(
    "partner_limiter_refusals_total", "Calls refused by our count of the broker's limits",
    ("category", "window_seconds", "whose"),
)  # fmt: skip
_limited = ALL.counter(
    "partner_broker_limited_total", "Pauses that the broker asked for, although we had counted fewer", ("category",),
    _each(("order", "non-trading", "data")),
)  # fmt: skip
_store_up = ALL.gauge("partner_limiter_store_up", "1 where calls can be counted", joined=Joined.SMALLEST)
_store_failures = ALL.counter("partner_limiter_store_failures_total", "Times that calls could not be counted")
_looks = ALL.counter(
    "partner_reconciler_looks_total", "Looks after what nobody knew", ("outcome",),
    _each(("done", "put-off", "session-expired", "failed")),
)  # fmt: skip
_polls = ALL.counter(
    "partner_order_polls_total", "Looks at books for their changes", ("outcome",),
    _each(("done", "put-off", "session-expired")),
)  # fmt: skip
_work_failed = ALL.counter(
    "partner_background_failures_total", "Pieces of background work that failed; they come round again", ("event",),
    _each(("claim_failed", "look_failed", "work_failed", "rescue_failed", "hints_lost")),
)  # fmt: skip
_refused_found = ALL.counter("partner_refused_orders_found_total", "Orders called refused that have turned up")
_not_stored = ALL.counter("partner_outcomes_not_stored_total", "Outcomes of order calls that only the log has")
_streams = ALL.gauge("partner_order_streams", "Order update streams that are open")
_events = ALL.counter("partner_order_events_total", "Changes of orders written down")
_posts = ALL.counter(
    "partner_webhook_posts_total", "What came to addresses of ours for the broker", ("outcome",),
    _each(("taken", "forged")),
)  # fmt: skip
_sign_ins = ALL.counter(
    "partner_sign_ins_total", "Sign-ins that came back from the broker", ("outcome",), _each(("signed-in",))
)
_pool_in_use = ALL.gauge("partner_database_pool_in_use", "Connections to the database in use")
_pool_size = ALL.gauge("partner_database_pool_size", "Connections to the database that may be in use")
_pool_waits = ALL.counter("partner_database_pool_waits_total", "Times that no connection was free at once")
_pool_exhausted = ALL.counter("partner_database_pool_exhausted_total", "Times that none became free in time")
_database_failures = ALL.counter("partner_database_failures_total", "Times that the database could not be used")
_ended = ALL.counter("partner_background_work_ended_total", "Background work that ended by itself, which it never may")
_in_doubt = ALL.counter("partner_ledger_heads_in_doubt_total", "Ledger heads found not to be believed")
_LAG = Named("partner_event_loop_lag_seconds", "How late the event loop comes to what is due")
_lag = ALL.timer(_LAG, _LAG)
_workers = ALL.gauge("partner_workers", "Processes that answer requests here")
_cpu = ALL.counter("partner_cpu_seconds_total", "Processor time of all of them")
_resident = ALL.gauge("partner_resident_bytes", "Memory of the largest of them", joined=Joined.LARGEST)
_open_files = ALL.gauge("partner_open_files", "Open files of the one with most", joined=Joined.LARGEST)


def request_ended(route: str, method: str, status: int, problem: str, seconds: float) -> None:
    """Count one request: by the route's template, and the problem's slug where it was answered with one."""
    outcome = _CLASSES[status // 100] if status < (_LAST_CLASS + 1) * 100 else _CLASSES[0]
    known = method if method in _METHODS else "other"
    _requests.add((route, known, outcome, problem), None if route in _STREAMS else seconds)


def internal_error_met() -> None:
    _own_faults.add()


def request_refused_under_pressure() -> None:
    _under_pressure.add()


def answer_of(status: int) -> str:
    """Return the class of a broker's answer by its status."""
    return _TOLD_APART.get(status) or (_CLASSES[status // 100] if status < (_LAST_CLASS + 1) * 100 else _CLASSES[0])


def broker_answered(route_class: str, answer: str, seconds: float) -> None:
    """Count one request to the broker; `answer` is what `answer_of` says or how it ended without any."""
    _broker_calls.add((route_class, answer), seconds)


def order_call_ended(action: str, outcome: str) -> None:
    _order_calls.add((action, outcome))


def answer_not_understood(route_class: str) -> None:
    _not_understood.add((route_class,))


def drifted(kind: str) -> None:
    _drift.add((kind,))


def broker_route_failing(route_class: str, *, is_failing: bool) -> None:
    _failing.set(float(is_failing), (route_class,))


def broker_call_spared(route_class: str) -> None:
    _spared.add((route_class,))


def read_retried(route_class: str) -> None:
    _retried.add((route_class,))


def bulkhead_refused(route_class: str) -> None:
    _crowded_out.add((route_class,))


def limiter_refused(category: str, window_seconds: int, *, is_own: bool) -> None:
    """Count a call for which a window had no place: one of the user's own, or one that all users share."""
    _refused.add((category, str(window_seconds), "user" if is_own else "app"))


def broker_limited(category: str) -> None:
    _limited.add((category,))


def limiter_store(*, is_up: bool) -> None:
    """Tell whether the store of permits answers; each time that it does not."""
    _store_up.set(float(is_up))
    if not is_up:
        _store_failures.add()


def reconciler_looked(outcome: str) -> None:
    _looks.add((outcome,))


def book_polled(outcome: str) -> None:
    _polls.add((outcome,))


def refused_order_found() -> None:
    _refused_found.add()


def outcome_not_stored() -> None:
    _not_stored.add()


def streams_changed(by: int) -> None:
    _streams.add(by)


def events_written(count: int) -> None:
    _events.add(_NONE, count)


def webhook_posted(outcome: str) -> None:
    _posts.add((outcome,))


def sign_in_ended(outcome: str) -> None:
    """Count a sign-in: `signed-in`, or the slug of the problem that it ended with."""
    _sign_ins.add((outcome,))


def watch_pool(owner: object, in_use: Callable[[], int], size: int) -> None:
    """Have the use of a pool of connections told until `forget_pool`."""
    _pool_in_use.ask(owner, in_use)
    _pool_size.ask(owner, lambda: size)


def forget_pool(owner: object) -> None:
    _pool_in_use.forget(owner)
    _pool_size.forget(owner)


def database_pool_waited() -> None:
    _pool_waits.add()


def database_pool_exhausted() -> None:
    _pool_exhausted.add()


def database_failed() -> None:
    _database_failures.add()


def background_work_failed(event: str) -> None:
    """Count a piece that failed and will be tried again; `event` is how the log calls it."""
    _work_failed.add((event,))


def background_work_ended() -> None:
    _ended.add()


def ledger_head_in_doubt() -> None:
    _in_doubt.add()


def event_loop_lagged(seconds: float) -> None:
    _lag.add(_NONE, seconds)


def note_process() -> None:
    """Take down what this process uses; it counts as one that answers from then on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _cpu.cells[_NONE] = used.ru_utime + used.ru_stime
    _workers.set(1)
    if _OWN.exists():
        pages = int((_OWN / "statm").read_text("ascii").split()[1])
        _resident.set(pages * resource.getpagesize())
        _open_files.set(sum(1 for _ in (_OWN / "fd").iterdir()))
