import json
import os
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import ConfigurationError
from service.settings import DEMO, PREFIX, Settings, read_settings

ISSUER: dict[str, Any] = {
    "issuer": "https://idp.example",
    "audience": "graph",
    "jwks_url": "https://idp.example/jwks",
    "tenants": ["ten_1"],
}


@pytest.fixture(autouse=True)
def _only_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def test_every_setting_has_a_default():
    settings = read_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.is_sqlite


def test_serve_shows_nothing_and_demo_shows_all():
    served, demo = read_settings(), read_settings(**DEMO)
    for name in ("graphiql", "introspection", "suggestions"):
        assert (getattr(served, name), getattr(demo, name)) == (False, True)


def test_values_come_from_the_environment_and_options_win(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_PORT", "9000")
    monkeypatch.setenv("SENTRY_GRAPH_CORS_ORIGINS", '["https://app.example", "http://localhost:3000"]')
    monkeypatch.setenv("SENTRY_GRAPH_JWT_ISSUERS", json.dumps([ISSUER | {"max_role": "admin"}]))
    monkeypatch.setenv("SENTRY_GRAPH_GRAPHIQL", "true")
    settings = read_settings(port=None)
    assert (settings.port, settings.graphiql) == (9000, True)
    assert settings.cors_origins == ("https://app.example", "http://localhost:3000")
    assert (settings.jwt_issuers[0].tenants, settings.jwt_issuers[0].max_role) == (("ten_1",), "admin")
    assert read_settings(port=9001).port == 9001


def test_settings_do_not_change():
    settings = read_settings()
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "hunter2"),
        ("PORT", "70000"),
        ("DATABASE_URL", "mysql://user:hunter2@host/name"),
        ("DATABASE_URL", "hunter2"),
        ("CORS_ORIGINS", '["*"]'),
        ("CORS_ORIGINS", '["https://app.example/hunter2"]'),
        ("CORS_ORIGINS", '["app.example"]'),
        ("CORS_ORIGINS", '["https://"]'),
        ("CORS_ORIGINS", '["https://app.example:hunter2"]'),
        ("CORS_ORIGINS", "hunter2"),
        ("CORS_ORIGINS", '"hunter2"'),
        ("PUBLIC_URL", "hunter2"),
        ("PUBLIC_URL", "https://user:hunter2@graph.example"),
        ("PUBLIC_URL", "https://graph.example/?hunter2"),
        ("PUBLIC_URL", "https://[hunter2"),
        ("OTEL_ENDPOINT", "hunter2:4318"),
        ("OTEL_ENDPOINT", "http://"),
        ("METRICS_TOKEN", ""),
        ("LOG_FORMAT", "hunter2"),
        ("GRAPHIQL", "hunter2"),
        ("UPSTREAM_DEADLINE", "0"),
        ("UPSTREAM_DEADLINE", "nan"),
        ("JWT_ISSUERS", "hunter2"),
        ("JWT_ISSUERS", "[{]"),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"hunter2": 1}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": "http://hunter2.example/jwks"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": "https://user:hunter2@idp.example/jwks"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": "https://"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": "file:///etc/jwks"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": None}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"jwks_file": "jwks.json"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"tenants": []}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"tenants": "ten_1"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"algorithms": []}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"algorithms": ["HS256"]}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"algorithms": ["none"]}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"max_role": "root"}])),
        ("JWT_ISSUERS", json.dumps([ISSUER | {"audience": ""}])),
        ("JWT_ISSUERS", json.dumps([ISSUER, ISSUER])),
        ("JWT_ISSUERS", json.dumps([{}])),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable_only(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(f"SENTRY_GRAPH_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    lines = caught.value.message.splitlines()
    assert lines
    for line in lines:
        assert line.startswith(f"SENTRY_GRAPH_{name}")
        assert ": " in line
        assert "Value error" not in line
    # A member's name is said; a value never is.
    assert "hunter2" not in caught.value.message.replace("JWT_ISSUERS.0.hunter2", "")


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_PORT", "x")
    monkeypatch.setenv("SENTRY_GRAPH_LOG_LEVEL", "x")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    assert len(caught.value.message.splitlines()) == 2


@pytest.mark.parametrize("name", ["SENTRY_GRAPH_PROT", "SENTRY_GRAPH_", "SENTRY_GRAPH_MODE"])
def test_a_variable_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(ConfigurationError, match=name) as caught:
        read_settings()
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks"])
def test_keys_of_an_issuer_on_this_machine_may_come_over_http(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("SENTRY_GRAPH_JWT_ISSUERS", json.dumps([ISSUER | {"jwks_url": url}]))
    assert read_settings().jwt_issuers[0].jwks_url == url


def test_secrets_are_not_printed():
    settings = Settings(database_url="postgresql://user:hunter2@host/name", metrics_token="hunter2")
    assert not settings.is_sqlite
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "hunter2" not in text
        assert "port=8000" in text


def test_the_clients_that_customers_link_by_are_read_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_PUBLIC_URL", "https://graph.example")
    monkeypatch.setenv("SENTRY_GRAPH_OAUTH_CLIENTS", json.dumps([{"client_id": "one", "client_secret": "hush-hush"}]))
    app = {"client_id": "two", "client_secret": "hush-hush", "slug": "acme-graph"}
    monkeypatch.setenv("SENTRY_GRAPH_SENTRY_APPS", json.dumps([app]))
    settings = read_settings()
    assert settings.oauth_clients[0].origin == "https://sentry.io"
    assert settings.sentry_apps[0].verify_install
    assert settings.oauth_clients[0].client_secret.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OAUTH_CLIENTS", [{"client_id": "one/two", "client_secret": "hush-hush"}], "OAUTH_CLIENTS.0.client_id"),
        ("OAUTH_CLIENTS", [{"client_id": "one", "client_secret": ""}], "OAUTH_CLIENTS.0.client_secret"),
        ("OAUTH_CLIENTS", [{"client_id": "one", "client_secret": "hush-hush"}] * 2, "OAUTH_CLIENTS: list each"),
        ("SENTRY_APPS", [{"client_id": "one", "client_secret": "hush-hush", "slug": "A b"}], "SENTRY_APPS.0.slug"),
    ],
)
def test_wrong_clients_are_told_without_their_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, reason: str
):
    monkeypatch.setenv("SENTRY_GRAPH_PUBLIC_URL", "https://graph.example")
    monkeypatch.setenv(f"SENTRY_GRAPH_{name}", json.dumps(value))
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_settings()
    assert "hush-hush" not in caught.value.message


def test_clients_need_an_address_that_sentry_sends_people_back_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENTRY_GRAPH_OAUTH_CLIENTS", json.dumps([{"client_id": "one", "client_secret": "hush-hush"}]))
    with pytest.raises(ConfigurationError, match="SENTRY_GRAPH_PUBLIC_URL: set it"):
        read_settings()
