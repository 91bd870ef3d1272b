from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from service.columns import now
from service.connections.link_models import LinkSessionRecord, LinkSessionStatus
from service.errors import BadInput
from service.link.returning import build_return_url, find_host
from service.link.rules import find_redirect_origin
from service.sentry.profiles import Profile


def record(uri: str | None) -> LinkSessionRecord:
    return LinkSessionRecord(
        id="lks_1",
        tenant_id="ten_1",
        token_hash=b"",
        redirect_uri=uri,
        allowed_origins=[],
        methods=[],
        profile=Profile.READ,
        created_by="test",
        status=LinkSessionStatus.COMPLETED,
        connection_id="con_1",
        created_at=now(),
        expires_at=now(),
    )


@given(st.text("abc=&?/%2.:_~-+'()", max_size=30))
def test_what_the_address_has_stays_and_the_end_is_added(rest):
    uri = f"https://app.example/{rest}"
    try:
        origin = find_redirect_origin(uri)
    except BadInput:
        return
    url = build_return_url(record(uri), "completed")
    assert url is not None
    assert url.startswith(uri)
    before, after = urlsplit(uri), urlsplit(url)
    assert find_redirect_origin(url) == origin == "https://app.example"
    assert (after.path, after.fragment) == (before.path, "")
    kept = parse_qsl(before.query, keep_blank_values=True)
    told = [("link_session", "lks_1"), ("connection", "con_1"), ("status", "completed")]
    assert parse_qsl(after.query, keep_blank_values=True)[-3:] == told
    assert [pair for pair in parse_qsl(after.query, keep_blank_values=True) if pair not in told] == kept


def test_without_an_address_there_is_no_way_back():
    assert build_return_url(record(None), "denied") is None
    assert find_host("https://app.example:8443/x") == "app.example:8443"
