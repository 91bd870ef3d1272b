from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.connections.models import CredentialKind
from service.connections.removal import find_removal


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (CredentialKind.USER_TOKEN, "settings/account/api/auth-tokens/"),
        (CredentialKind.UNKNOWN_TOKEN, "settings/account/api/auth-tokens/"),
        (CredentialKind.OAUTH_TOKEN, "settings/account/authorizations/"),
        (CredentialKind.APP_TOKEN, "settings/acme/integrations/"),
        (CredentialKind.INTERNAL_TOKEN, "settings/acme/developer-settings/"),
        (CredentialKind.ORGANIZATION_TOKEN, "settings/acme/auth-tokens/"),
    ],
)
@pytest.mark.parametrize("origin", ["https://sentry.io", "http://sentry.internal:9000/below"])
def test_each_kind_is_removed_on_its_own_page(kind: CredentialKind, path: str, origin: str) -> None:
    removal = find_removal(kind, origin, "acme")
    assert removal.url == f"{origin}/{path}"
    assert removal.instructions.endswith(".")


def test_every_kind_has_a_page() -> None:
    for kind in CredentialKind:
        assert find_removal(kind, "https://sentry.io", "acme").url.startswith("https://sentry.io/settings/")


@given(st.text())
def test_no_slug_leads_to_another_page_or_place(slug: str) -> None:
    parts = urlsplit(find_removal(CredentialKind.ORGANIZATION_TOKEN, "https://sentry.io", slug).url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "sentry.io", "", "")
    _, settings, segment, page, _ = parts.path.split("/")
    assert (settings, unquote(segment), page) == ("settings", slug, "auth-tokens")
