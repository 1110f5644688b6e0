"""A breaker opens for what the broker fails at, lets one call through to see, and never shuts out what is urgent."""

from functools import partial

import pytest

from app import measures
from app.broker.breakers import Breaker, Ending, Leave
from app.broker.paths import ACTS, Call, RouteClass
from app.limits import Urgency
from app.problems import BrokerUnavailable
from tests.support.clock import Watch

ANSWERED, FAILED, NEITHER = Ending.ANSWERED, Ending.FAILED, Ending.NEITHER
ASHA, RAVI, MIRA = "AB1234", "FO5678", "MIXED77"
IN_A_ROW = 5


class Broker:
    """Calls of one class, whose endings a test decides, before a breaker that knows no chance."""

    def __init__(self, route: RouteClass = RouteClass.PORTFOLIO, failures: int = IN_A_ROW) -> None:
        self.watch = Watch()
        self.breaker = Breaker(route, failures, self.watch, lambda: 0.5)

    def begin(self, user: str | None = ASHA, urgency: Urgency = Urgency.ORDINARY) -> Leave:
        return self.breaker.admit(user, urgency)

    def call(self, ending: Ending, user: str | None = ASHA, urgency: Urgency = Urgency.ORDINARY) -> None:
        self.breaker.settle(self.begin(user, urgency), ending)

    def fail(self, times: int = IN_A_ROW) -> None:
        """Fail for two users in turn."""
        for number in range(times):
            self.call(FAILED, (ASHA, RAVI)[number % 2])

    def refuses(self, user: str | None = ASHA) -> int:
        """Return in how many seconds to come again; a call that is let through is a failed test."""
        with pytest.raises(BrokerUnavailable) as refusal:
            self.begin(user)
        return int(refusal.value.headers["Retry-After"])


def test_failures_in_a_row_open_it_for_everybody() -> None:
    broker = Broker()
    broker.fail(IN_A_ROW - 1)
    broker.call(ANSWERED)
    broker.fail(IN_A_ROW - 1)
    broker.call(FAILED)
    assert [broker.refuses(user) for user in (ASHA, RAVI, MIRA)] == [1, 1, 1]


def test_half_of_many_calls_opens_it_though_never_so_many_in_a_row() -> None:
    broker = Broker()
    for number in range(IN_A_ROW * 4 - 1):
        broker.call(ANSWERED if number % 2 else FAILED, (ASHA, RAVI, MIRA)[number % 3])
    broker.call(FAILED, MIRA)
    assert broker.refuses() == 1


def test_fewer_than_half_never_open_it() -> None:
    broker = Broker()
    for number in range(300):
        broker.call(FAILED if number % 5 in {0, 2} else ANSWERED, (ASHA, RAVI)[number % 2])
    broker.call(ANSWERED)


def test_what_failed_a_minute_ago_counts_no_more() -> None:
    broker = Broker()
    broker.fail(IN_A_ROW - 1)
    broker.watch.time += 61
    broker.fail(1)
    broker.call(ANSWERED)


def test_what_proves_nothing_neither_opens_nor_closes_it() -> None:
    broker = Broker()
    for _ in range(100):
        broker.call(NEITHER)
    broker.fail(IN_A_ROW - 1)
    broker.call(NEITHER)
    broker.fail(1)
    broker.watch.time += 1
    broker.call(NEITHER)  # the one let through met a limit of ours: the next may try
    broker.call(ANSWERED)
    broker.fail(1)
    broker.call(ANSWERED)


def test_when_its_time_is_over_one_call_goes_and_its_answer_closes_it() -> None:
    broker = Broker()
    broker.fail()
    broker.watch.time += 1
    probe = broker.begin(RAVI)
    assert broker.refuses(ASHA) == 1
    broker.breaker.settle(probe, ANSWERED)
    broker.fail(IN_A_ROW - 1)
    broker.call(ANSWERED)


def test_each_failed_probe_doubles_its_time_up_to_a_quarter_of_a_minute() -> None:
    broker = Broker()
    broker.fail()
    waits = []
    for _ in range(6):
        waits.append(broker.refuses())
        broker.watch.time += waits[-1]
        broker.call(FAILED)
    assert waits == [1, 2, 4, 8, 15, 15]
    broker.watch.time += broker.refuses()
    broker.call(ANSWERED)
    broker.fail()
    assert broker.refuses() == 1, "it begins anew"


def test_chance_spreads_the_tries_of_many_replicas_and_never_beyond_the_longest() -> None:
    ends = []
    for chance in (0.0, 0.5, 0.999):
        broker = Broker()
        broker.breaker = Breaker(RouteClass.FUNDS, IN_A_ROW, broker.watch, partial(float, chance))
        broker.fail()
        for _ in range(5):
            broker.watch.time += broker.refuses()
            broker.call(FAILED)
        ends.append(broker.refuses())
    assert ends == [12, 15, 15]


def test_a_call_that_began_before_it_opened_decides_nothing_any_more() -> None:
    broker = Broker()
    early, late = broker.begin(RAVI), broker.begin(MIRA)
    broker.fail()
    broker.breaker.settle(early, ANSWERED)
    assert broker.refuses() == 1
    broker.breaker.settle(late, FAILED)
    broker.watch.time += 1
    broker.call(ANSWERED)


def test_what_is_urgent_passes_and_its_answer_closes_it() -> None:
    broker = Broker()
    broker.fail()
    broker.call(FAILED, MIRA, Urgency.URGENT)
    assert broker.refuses() == 1, "its failure lengthens nothing"
    broker.call(ANSWERED, MIRA, Urgency.URGENT)
    broker.call(ANSWERED)


def test_the_odd_account_of_one_shuts_out_nobody_else() -> None:
    broker = Broker()
    for _ in range(IN_A_ROW):
        broker.call(FAILED, ASHA)
    assert broker.refuses(ASHA) == 1
    broker.call(ANSWERED, RAVI)
    assert broker.refuses(ASHA) == 1
    broker.watch.time += 1
    broker.call(ANSWERED, ASHA)
    broker.call(ANSWERED, ASHA)


def test_two_odd_accounts_one_after_the_other_shut_out_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    measures.broker_route_failing(RouteClass.PORTFOLIO, is_failing=False)
    broker = Broker()
    for user in (ASHA, RAVI):
        for _ in range(IN_A_ROW):
            broker.call(FAILED, user)
    for _ in range(100):
        broker.watch.time += 16
        broker.call(FAILED, ASHA)
        broker.call(FAILED, RAVI)
        broker.call(ANSWERED, MIRA)
    assert [broker.refuses(user) for user in (ASHA, RAVI)] == [15, 15]
    assert is_told_as_failing() is False, "it is for what concerns everybody"
    assert events(caplog) == ["broker_portfolio_failing"] * 2


def test_one_whose_every_call_fails_is_left_alone_however_many_others_are_answered_meanwhile() -> None:
    broker = Broker()
    for _ in range(IN_A_ROW):
        broker.call(FAILED, ASHA)
        broker.call(ANSWERED, RAVI)
    assert broker.refuses(ASHA) == 1
    broker.call(ANSWERED, MIRA)


def test_what_seemed_to_be_one_users_matter_becomes_everybodys_when_others_fail_too() -> None:
    broker = Broker()
    for _ in range(IN_A_ROW):
        broker.call(FAILED, ASHA)
    for number in range(IN_A_ROW):
        broker.call(FAILED, (RAVI, MIRA)[number % 2])
    assert [broker.refuses(user) for user in (ASHA, RAVI, MIRA, "NEW")] == [1, 1, 1, 1]
    assert is_told_as_failing() is True


def test_one_who_fails_by_himself_does_not_try_for_the_others() -> None:
    broker = Broker()
    for user in (ASHA,) * IN_A_ROW + (RAVI, MIRA, RAVI, MIRA, RAVI):
        broker.call(FAILED, user)
    broker.watch.time += 1
    broker.call(FAILED, ASHA)
    assert broker.refuses(ASHA) == 2
    broker.call(ANSWERED, MIRA)
    broker.call(ANSWERED, RAVI)
    assert broker.refuses(ASHA) == 2


def test_an_idle_poll_tries_for_everybody_only_where_nobody_else_has_come_for_a_while() -> None:
    broker = Broker()
    broker.fail()
    broker.watch.time += 15
    assert not broker.breaker.lets_through(MIRA, Urgency.IDLE)
    with pytest.raises(BrokerUnavailable):
        broker.begin(MIRA, Urgency.IDLE)
    assert broker.breaker.lets_through(MIRA, Urgency.ORDINARY)
    broker.watch.time += 1
    broker.call(ANSWERED, MIRA, Urgency.IDLE)
    broker.call(ANSWERED)


def test_no_more_than_a_hundred_users_are_left_alone_by_themselves() -> None:
    broker = Broker()
    for number in range(101):
        for _ in range(IN_A_ROW):
            broker.call(FAILED, f"U{number}")
    broker.call(ANSWERED, "U0")
    assert [broker.refuses(user) for user in ("U1", "U100")] == [1, 1]


def test_it_does_not_wait_for_ever_for_the_one_who_failed_and_left(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    for _ in range(IN_A_ROW):
        broker.call(FAILED, ASHA)
    broker.watch.time += 62
    broker.call(ANSWERED, RAVI)
    assert events(caplog) == ["broker_portfolio_failing", "broker_portfolio_working_again"]


def test_none_stands_before_orders_there_it_tells_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker(RouteClass.ORDERS)
    early = broker.begin(MIRA)
    broker.fail(50)
    broker.breaker.settle(early, ANSWERED)
    assert events(caplog) == ["broker_orders_failing"]
    broker.call(ANSWERED)
    broker.call(ANSWERED)
    assert events(caplog) == ["broker_orders_failing", "broker_orders_working_again"]


def test_none_stands_before_the_exchange_of_a_code() -> None:
    broker = Broker(RouteClass.EXCHANGE)
    for _ in range(50):
        broker.call(FAILED, None)


def test_it_can_be_switched_off() -> None:
    broker = Broker(failures=0)
    broker.fail(200)


def test_every_call_has_its_class_and_all_acts_the_one_of_orders() -> None:
    assert {call for call in Call if call.route_class is RouteClass.ORDERS} == ACTS
    assert {call.route_class for call in Call} == set(RouteClass) - {RouteClass.EXCHANGE}


def is_told_as_failing() -> bool:
    return bool(measures.ALL.standing()["partner_broker_route_failing"][(RouteClass.PORTFOLIO,)] == 1)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(record.msg["event"]) for record in caplog.records if isinstance(record.msg, dict)]
