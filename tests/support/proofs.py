"""What has to be true after any failure, found out from the broker's own books and log, and from what each was told."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.hearing import Ear
from tests.support.honest import Diary, Wish

_ORDER_CALLS = frozenset({"place", "modify", "cancel", "convert"})
_AT_BROKER = {"OPEN": "OPEN", "COMPLETE": "COMPLETE", "CANCELED": "CANCELLED", "REJECTED": "REJECTED"}
"""The broker's words for how an order stands, and ours."""

Row = dict[str, Any]


def every_wish_has_its_end(wishes: Sequence[Wish], intents: Sequence[Row], taken: Sequence[Row]) -> Counter[str]:
    """Hold what was meant and told against what was written and what the broker has; count how orders ended.

    Whatever was ever sent with a key is one intent at most, and ended accepted, refused or unknown.
    """
    by_key = {(each["user_id"], each["idempotency_key"]): each for each in intents if each["idempotency_key"]}
    at_broker: defaultdict[str, list[Row]] = defaultdict(list)
    for order in taken:
        at_broker[order["remarks"]].append(order)
    ended: Counter[str] = Counter()
    for wish in (each for each in wishes if each.method == "POST"):
        assert wish.is_known, wish
        intent = by_key[wish.user, wish.key]
        orders = at_broker.pop(intent["correlation"], [])
        assert len(orders) <= 1, f"doubled: {wish.key} is {orders}"
        assert {each["userId"] for each in orders} <= {wish.user}
        _is_as_the_broker_has_it(intent, orders)
        _was_told_rightly(wish, intent, orders)
        ended[intent["state"]] += 1
    assert not at_broker, f"orders that nobody meant: {dict(at_broker)}"
    return ended


def _is_as_the_broker_has_it(intent: Row, orders: Sequence[Row]) -> None:
    match intent["state"]:
        case "accepted":
            assert len(orders) == 1, f"lost: {intent}"
        case "refused":
            assert not orders, f"called refused, and there: {intent} {orders}"
        case "unknown":
            assert {each["orderNo"] for each in orders} <= set(intent["candidates"]), (intent, orders)
        case state:
            raise AssertionError(f"still {state}: {intent}")


def _was_told_rightly(wish: Wish, intent: Row, orders: Sequence[Row]) -> None:
    """Hold every answer with an outcome against what became of it in the end."""
    for answer in wish.answers:
        if answer.status == 201:
            assert intent["state"] == "accepted", (wish, intent)
            numbers = {each["orderNo"] for each in answer.content["orders"]}
            assert numbers == {each["orderNo"] for each in orders}, (wish, orders)
        if answer.slug == "order-refused":
            assert intent["state"] == "refused", (wish, intent)
        if answer.status in {201, 202}:
            assert answer.content["placementId"] == str(intent["id"])


def each_was_sent_once(requests: Iterable[Row], intents: Sequence[Row]) -> None:
    """Count in the broker's log how often each order came, whatever became of it there."""
    sent = Counter(item["remarks"] for each in requests if each["call"] == "place" for item in each["body"])
    assert max(sent.values()) == 1, sent.most_common(1)
    assert set(sent) <= {each["correlation"] for each in intents}


def worst_windows(requests: Iterable[Row], lengths: Iterable[int]) -> dict[tuple[str, int], int]:
    """Return, by category and length, the most calls of one user in any window however it is aligned.

    It is counted from the broker's log, by the moment at which each call had come.
    """
    moments: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for each in requests:
        if each["call"] != "exchange" and each["userId"]:
            category = "order" if each["call"] in _ORDER_CALLS else "nonTrading"
            moments[each["userId"], category].append(each["at"])
    worst: dict[tuple[str, int], int] = {}
    for (_, category), times in moments.items():
        for length in lengths:
            worst[category, length] = max(worst.get((category, length), 0), _most_within(sorted(times), length))
    return worst


def _most_within(times: Sequence[float], length: int) -> int:
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - length:
            first += 1
        most = max(most, last - first + 1)
    return most


def nobody_was_shown_what_is_anothers(diary: Diary, taken: Sequence[Row]) -> None:
    """Hold all that each was told against whose it is."""
    assert diary.leaks == []
    owner = {each["orderNo"]: each["userId"] for each in taken}
    for user, numbers in diary.order_nos.items():
        assert {owner.get(each, user) for each in numbers} <= {user}


def streams_told_everything_once(ears: Sequence[Ear], events: Mapping[str, Sequence[Row]], taken: Sequence[Row]) -> int:
    """Hold what was heard against the list of events and the broker's book; return how many updates there were."""
    for ear in ears:
        user = ear.investor.user
        assert ear.resets == 0
        assert ear.began_behind is not None
        listed = [each["number"] for each in events[user] if each["number"] > ear.began_behind]
        assert ear.ids == listed == list(range(ear.began_behind + 1, ear.began_behind + 1 + len(listed))), user
        assert [each["type"] for each in ear.updates] == [
            each["type"] for each in events[user] if each["number"] > ear.began_behind
        ]
        told = {each["order"]["orderNo"]: each["order"]["status"] for each in ear.updates}
        stands = {each["orderNo"]: _AT_BROKER[each["status"]] for each in taken if each["userId"] == user}
        assert {number: told.get(number) for number in stands} == stands, user
    return sum(len(ear.updates) for ear in ears)


def nothing_secret_was_written(written: str, secrets: Iterable[str]) -> None:
    """Search everything that was logged."""
    assert [each[:12] for each in secrets if each in written] == []


def faults_of_ours(written: str) -> list[Row]:
    """Return the lines that tell of a fault of our own code."""
    events = {"internal_error", "background_work_ended", "work_failed", "refused_order_found"}
    lines = (json.loads(line) for line in written.splitlines() if line.startswith("{"))
    return [each for each in lines if each.get("event") in events and each.get("reason") != "the database is away"]
