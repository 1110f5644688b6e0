"""What a caller is told of his limits, and what may go when nobody can count them."""

import pytest

from app.limits import CONTRACT, Category, Demand, Urgency
from app.problems import RateLimited, TemporarilyUnavailable
from app.safeguards.addresses import counted_address
from app.safeguards.quotas import Quota, Standing, policy_field
from app.safeguards.sparing import Sparing

CANCEL = Demand(Category.ORDER, "AB1234", urgency=Urgency.URGENT)
READ = Demand(Category.NON_TRADING, "AB1234")


def test_the_window_that_stops_first_comes_first_and_of_two_the_longer_lasting() -> None:
    standing = Standing(
        (
            Quota("order-1", 1, 25, 20, 0.3),
            Quota("order-60", 60, 250, 0, 12.01),
            Quota("order-3600", 3600, 500, 0, 700.0),
        ),
        at=0.0,
    )
    assert standing.fields == {
        "RateLimit-Policy": '"order-3600";q=500;w=3600, "order-60";q=250;w=60, "order-1";q=25;w=1',
        "RateLimit": '"order-3600";r=0;t=700, "order-60";r=0;t=13, "order-1";r=20;t=1',
    }


def test_without_a_user_only_the_policy_is_told() -> None:
    assert policy_field(CONTRACT, Category.ORDER) == (
        '"order-1";q=25;w=1, "order-60";q=250;w=60, "order-3600";q=500;w=3600, "order-86400";q=5000;w=86400'
    )


@pytest.mark.parametrize(
    ("address", "counted"),
    [("203.0.113.7", "203.0.113.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
     ("::ffff:203.0.113.7", "203.0.113.7"), (None, "unknown"), ("nonsense", "unknown")],
)  # fmt: skip
def test_an_address_counts_as_the_line_that_it_is_on(address: str | None, counted: str) -> None:
    assert counted_address(address) == counted


class Moment:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sparing_at(moment: Moment, *, are_reads_spared: bool = False) -> Sparing:
    return Sparing(are_reads_spared=are_reads_spared, sign_ins_per_address=2, now=moment)


def test_one_cancel_a_second_and_user_passes_and_no_order() -> None:
    moment = Moment()
    spare = sparing_at(moment)
    spare.admit(CANCEL)
    spare.admit(Demand(Category.ORDER, "FO5678", urgency=Urgency.URGENT))
    for refused in (CANCEL, READ, Demand(Category.ORDER, "EMPTY01", ("NSE",))):
        with pytest.raises(TemporarilyUnavailable):
            spare.admit(refused)
    moment.now += 1.0
    spare.admit(CANCEL)


def test_reads_pass_once_a_second_where_the_setting_says_so() -> None:
    moment = Moment()
    spare = sparing_at(moment, are_reads_spared=True)
    spare.admit(READ)
    with pytest.raises(TemporarilyUnavailable):
        spare.admit(READ)
    spare.admit(CANCEL)
    with pytest.raises(TemporarilyUnavailable):
        spare.admit(Demand(Category.ORDER, "AB1234", ("NSE",)))


def test_an_address_keeps_its_limit() -> None:
    moment = Moment()
    spare = sparing_at(moment)
    for address in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):
        spare.admit_address(address)
    moment.now += 59.0
    with pytest.raises(RateLimited) as refused:
        spare.admit_address("203.0.113.7")
    assert refused.value.wait == pytest.approx(1.0)
    moment.now += 1.0
    spare.admit_address("203.0.113.7")


def test_what_is_remembered_is_bounded() -> None:
    moment = Moment()
    spare = sparing_at(moment)
    for number in range(25_000):
        moment.now += 0.01
        spare.admit(Demand(Category.ORDER, f"U{number}", urgency=Urgency.URGENT))
        spare.admit_address(f"10.0.{number // 250}.{number % 250}")
    assert len(spare._last) <= 10_001  # noqa: SLF001  # memory is what this is about
    assert len(spare._visits) <= 10_001  # noqa: SLF001  # the same
