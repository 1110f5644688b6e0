"""The broker's limits as settings: its own numbers by default, and what can't be meant is refused at the start."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.limits import CONTRACT, Category, Urgency, Window, parse_limits
from app.safeguards.rate_policy import Policy
from app.settings import Settings
from tests.support.configured import configured

AS_SHIPPED = ("rate_limits_user", "orders_per_second_per_exchange", "sign_in_limit_per_address", "read_reuse_seconds")


def limits_of(**changed: Any) -> Settings:
    """Return settings with the shipped defaults of the limits, changed by what is named."""
    defaults = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in AS_SHIPPED}
    return configured("postgresql:///", "http://127.0.0.1:1/", **defaults | changed)


def test_the_defaults_are_the_brokers_own_numbers() -> None:
    settings = limits_of()
    assert settings.rate_limits_user == CONTRACT
    assert [tuple(each.limit for each in CONTRACT[category]) for category in Category] == [
        (25, 250, 500, 5000), (10, 1000, 5000, 10_000), (100, 500, 1000, 5000)
    ]  # fmt: skip
    assert [each.seconds for each in CONTRACT[Category.ORDER]] == [1, 60, 3600, 86_400]
    assert settings.rate_limits_app == {}
    assert (settings.orders_per_second_per_exchange, float(settings.cancel_reserve)) == (10, 0.1)
    assert (settings.rate_limit_guard.total_seconds(), settings.sign_in_limit_per_address) == (0.25, 60)
    assert settings.read_reuse_seconds == {"": 1.0}
    assert settings.rate_limit_store_down == "reads-fail"


def test_single_categories_and_windows_can_be_changed() -> None:
    settings = limits_of(rate_limits_user="order=-/200/-/4000", rate_limits_app="non-trading=100/-/-/-, ")
    assert settings.rate_limits_user[Category.ORDER] == (Window(60, 200), Window(86_400, 4000))
    assert settings.rate_limits_user[Category.DATA] == CONTRACT[Category.DATA]
    assert settings.rate_limits_app == {Category.NON_TRADING: (Window(1, 100),)}
    assert limits_of(rate_limits_app="off").rate_limits_app == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("order=25/250/200/5000", "order: 200 an hour is below 250 a minute"),
        ("order=25/-/-/20", "order: 20 a day is below 25 a second"),
        ("order=25/250/500", "order needs four numbers"),
        ("order=25/250/500/many", "order needs four numbers"),
        ("order=0/1/1/1", "order needs four numbers"),
        ("order=-1/1/1/1", "order needs four numbers"),
        ("orders=1/1/1/1", "there is no category 'orders'; there are order, data, non-trading"),
        ("order=1/1/1/1,order=1/1/1/1", "order is named twice"),
        ("off", "there is no category 'off'"),
    ],
)
def test_limits_that_can_not_be_meant_are_refused(given: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        limits_of(rate_limits_user=given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("rate_limit_url", "http://127.0.0.1/"),
        ("rate_limit_url", "redis://h:notaport"),
        ("rate_limit_url", "redis://h/abc"),
        ("rate_limit_url", "redis://"),
        ("rate_limit_url", "unix://"),
        ("rate_limit_url", "redis://h?max_connections=2"),
        ("rate_limit_url", "unix:///x?db=a"),
        ("rate_limit_url", "redis://h?ssl_ca_certs=/ca.pem"),
        ("rate_limit_url", "unix:///x?ssl_ca_certs=/ca.pem"),
        ("rate_limit_url", "rediss://h?ssl_cert_reqs=none"),
        ("rate_limit_url", "rediss://h?ssl_check_hostname=false"),
        ("rate_limit_url", "rediss://h?ssl_keyfile=/key.pem"),
        ("rate_limit_guard", "0"),
        ("rate_limit_guard", "11"),
        ("cancel_reserve", "2"),
        ("cancel_reserve", "-0.1"),
        ("orders_per_second_per_exchange", "-1"),
        ("sign_in_limit_per_address", "0"),
        ("read_reuse_seconds", "soon"),
        ("read_reuse_seconds", "61"),
        ("read_reuse_seconds", "nan"),
        ("read_reuse_seconds", "1,nothing=2"),
        ("read_reuse_seconds", "1,2"),
        ("rate_limit_store_down", "orders-pass"),
    ],
)
def test_other_settings_of_the_limits_are_refused_too(name: str, given: str) -> None:
    with pytest.raises(ValidationError, match=name):
        limits_of(**{name: given})


def test_the_address_of_the_store_is_a_secret() -> None:
    assert "hunter2" not in repr(limits_of(rate_limit_url="redis://:hunter2@limits:6379/0"))
    with pytest.raises(ValidationError) as refused:
        limits_of(rate_limit_url="redis://:hunter2/x@limits:6379/0")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://limits",
        "rediss://u:p%2F@limits:6380/3",
        "unix:///run/valkey.sock?db=2",
        "rediss://limits/1?ssl_ca_certs=/run/ca.pem",
        "rediss://limits?ssl_ca_certs=/run/ca.pem&ssl_certfile=/run/ours.pem&ssl_keyfile=/run/ours.key&db=1",
    ],
)
def test_addresses_of_a_store(url: str) -> None:
    given = limits_of(rate_limit_url=url).rate_limit_url
    assert given is not None
    assert given.get_secret_value() == url


def test_a_time_for_one_read_leaves_the_others_as_they_are() -> None:
    assert limits_of(read_reuse_seconds="profile=60").read_reuse_seconds == {"": 1.0, "profile": 60.0}


@pytest.mark.parametrize(
    ("limit", "share", "usable"),
    [(25, "0.1", 23), (250, "0.1", 225), (10, "0.1", 9), (5, "0.1", 4), (2, "0.1", 1), (1, "0.1", 1), (9, "0", 9),
     (10, "0.5", 5), (10, "0.25", 8)],
)  # fmt: skip
def test_the_reserve_is_rounded_down_but_at_least_one_and_never_all(limit: int, share: str, usable: int) -> None:
    policy = Policy.of(limits_of(cancel_reserve=share))
    assert policy.usable(Category.ORDER, limit, Urgency.ORDINARY) == usable
    assert policy.usable(Category.ORDER, limit, Urgency.URGENT) == limit
    assert policy.usable(Category.DATA, limit, Urgency.ORDINARY) == limit


def test_a_text_without_categories_changes_nothing() -> None:
    assert parse_limits(" , ", CONTRACT) == CONTRACT
