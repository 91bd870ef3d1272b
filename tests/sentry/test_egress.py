import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import EgressRefused
from service.sentry.egress import EgressPolicy
from service.sentry.origin import Origin
from tests.sentry.addresses import FORBIDDEN, PRIVATE, PUBLIC, UNREADABLE

ALLOWED = Origin.parse("http://sentry.internal:9000/sentry")
OPEN = EgressPolicy([ALLOWED])


def permits(policy: EgressPolicy, host: str, port: int, *addresses: str) -> bool:
    try:
        policy.check_addresses(host, port, addresses)
    except EgressRefused:
        return False
    return True


def test_the_table_is_long_enough_and_says_each_thing_once() -> None:
    rows = [*PUBLIC, *PRIVATE, *FORBIDDEN, *UNREADABLE]
    assert len(rows) >= 200
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert permits(OPEN, "sentry.io", 443, address)
    assert permits(OPEN, "sentry.internal", 9000, address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_allow_list(address: str) -> None:
    assert not permits(OPEN, "sentry.io", 443, address)
    assert not permits(OPEN, "sentry.internal", 443, address)
    assert permits(OPEN, "sentry.internal", 9000, address)


@pytest.mark.parametrize("address", [*FORBIDDEN, *UNREADABLE])
def test_forbidden_addresses_are_forbidden_for_everyone(address: str) -> None:
    assert not permits(OPEN, "sentry.io", 443, address)
    assert not permits(OPEN, "sentry.internal", 9000, address)


def test_one_bad_answer_refuses_all() -> None:
    assert not permits(OPEN, "sentry.io", 443, "8.8.8.8", "10.0.0.1", "1.1.1.1")
    assert not permits(OPEN, "sentry.io", 443, "8.8.8.8", "::1")
    assert not permits(OPEN, "sentry.internal", 9000, "10.0.0.1", "169.254.169.254")


def test_no_answer_is_refused() -> None:
    assert not permits(OPEN, "sentry.io", 443)


def accepts(policy: EgressPolicy, url: str) -> bool:
    try:
        policy.check_origin(Origin.parse(url))
    except EgressRefused as error:
        assert error.cure  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize("port", [443, 1024, 8443, 9000, 9443, 65535])
def test_https_on_a_web_port_is_accepted(port: int) -> None:
    assert accepts(OPEN, f"https://sentry.example:{port}")


@pytest.mark.parametrize(
    "port", [1, 21, 22, 25, 80, 110, 143, 445, 465, 1023, 3306, 5432, 6379, 9200, 10250, 11211, 27017]
)
def test_other_services_ports_are_refused(port: int) -> None:
    assert not accepts(OPEN, f"https://sentry.example:{port}")


def test_plain_http_needs_the_allow_list_exactly() -> None:
    assert accepts(OPEN, "http://sentry.internal:9000")
    assert accepts(OPEN, "http://sentry.internal:9000/another")
    assert not accepts(OPEN, "http://sentry.internal")
    assert not accepts(OPEN, "http://sentry.internal:9001")
    assert not accepts(OPEN, "http://a.sentry.internal:9000")
    assert accepts(EgressPolicy([Origin.parse("http://sentry.internal")]), "http://sentry.internal:80")


def test_addresses_in_the_url_are_judged_at_once() -> None:
    assert accepts(OPEN, "https://8.8.8.8")
    assert not accepts(OPEN, "https://127.0.0.1")
    assert not accepts(OPEN, "https://[::1]")
    assert accepts(EgressPolicy([Origin.parse("https://127.0.0.1")]), "https://127.0.0.1")
    assert accepts(EgressPolicy([Origin.parse("http://[::1]:9000")]), "http://[::1]:9000")


def test_not_even_the_operator_opens_link_local_addresses() -> None:
    metadata = Origin.parse("http://169.254.169.254")
    assert not accepts(EgressPolicy([metadata]), metadata.url)


@given(st.ip_addresses())
def test_any_address_is_judged_and_private_ones_never_pass_unlisted(address: object) -> None:
    text = str(address)
    if permits(EgressPolicy(), "sentry.io", 443, text):
        assert getattr(address, "is_global", False)
        assert not getattr(address, "is_multicast", True)
