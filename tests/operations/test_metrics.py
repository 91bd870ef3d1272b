import re
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from service.operations.metrics import Metrics, create_metrics_route
from service.operations.record import RequestRecord
from service.sentry.calls import CallObservation


def make_call(**values: Any) -> CallObservation:
    usual: dict[str, Any] = {
        "host": "sentry.io",
        "template": "organizations/{}/members/",
        "method": "GET",
        "outcome": "200",
        "seconds": 0.2,
        "attempts": 1,
    }
    return CallObservation(**(usual | values))


def samples(metrics: Metrics) -> dict[str, float]:
    """All samples by their names and the values of their labels, in the order of the labels' names."""
    text = metrics.render()[0].decode()
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def end(metrics: Metrics, **values: object) -> None:
    metrics.begin_http()
    record = RequestRecord("POST", route="/graphql", status=200)
    for name, value in values.items():
        setattr(record, name, value)
    metrics.end_http(record)


def test_calls_to_sentry_are_counted_by_endpoint_and_outcome():
    metrics = Metrics("1.0")
    metrics.count_call(make_call())
    metrics.count_call(make_call(outcome="RATE_LIMITED", attempts=3, seconds=4.0))
    metrics.count_call(make_call(outcome="UPSTREAM_UNAVAILABLE", attempts=0))
    metrics.count_call(make_call(method="BREW"))

    found = samples(metrics)

    assert found["sentry_graph_sentry_calls_total organizations/{}/members/ sentry.io GET 200"] == 1
    assert found["sentry_graph_sentry_calls_total organizations/{}/members/ sentry.io GET RATE_LIMITED"] == 1
    assert found["sentry_graph_sentry_calls_total organizations/{}/members/ sentry.io other 200"] == 1
    assert found["sentry_graph_sentry_attempts_total sentry.io"] == 5
    assert found["sentry_graph_sentry_calls_unsent_total sentry.io"] == 1
    assert found["sentry_graph_sentry_call_seconds_count sentry.io"] == 4
    assert found["sentry_graph_sentry_call_seconds_sum sentry.io"] == pytest.approx(4.6)


def test_graphql_requests_are_counted_by_type_and_outcome():
    metrics = Metrics("1.0")
    end(metrics, is_graphql=True, kind="query", has_run=True)
    end(metrics, is_graphql=True, kind="query", has_run=True, codes=("NOT_FOUND", "RATE_LIMITED"))
    end(metrics, is_graphql=True, kind="mutation", codes=("FORBIDDEN",))
    end(metrics, is_graphql=True, codes=("UNAUTHENTICATED",), status=401)
    end(metrics, method="BREW", route="/health")

    found = samples(metrics)

    assert {name: value for name, value in found.items() if "graphql_requests_total" in name} == {
        "sentry_graph_graphql_requests_total OK query": 1,
        "sentry_graph_graphql_requests_total PARTIAL query": 1,
        "sentry_graph_graphql_requests_total FORBIDDEN mutation": 1,
        "sentry_graph_graphql_requests_total UNAUTHENTICATED unknown": 1,
    }
    assert found["sentry_graph_graphql_errors_total RATE_LIMITED"] == 1
    assert found["sentry_graph_http_requests_total POST /graphql 401"] == 1
    assert found["sentry_graph_http_requests_total other /health 200"] == 1
    assert found["sentry_graph_http_requests_open"] == 0


def test_a_subscription_counts_as_an_operation_and_not_as_a_slow_request():
    metrics = Metrics("1.0")
    metrics.watch_streams(lambda: 3)
    end(metrics, is_graphql=True, kind="subscription", has_run=True, seconds=3600.0)
    metrics.count_graphql("subscription", ["OVERFLOW"], has_run=True, seconds=60.0)

    found = samples(metrics)

    assert found["sentry_graph_streams_open"] == 3
    assert found["sentry_graph_graphql_requests_total OK subscription"] == 1
    assert found["sentry_graph_graphql_requests_total PARTIAL subscription"] == 1
    assert found["sentry_graph_graphql_request_seconds_sum subscription"] == 3660
    assert not any(name.startswith("sentry_graph_http_request_seconds") for name in found)


def test_the_version_and_the_process_are_shown():
    found = samples(Metrics("1.2.3"))
    assert any(re.match(r"sentry_graph_build_info 3\.[\d.]+ 1\.2\.3", name) for name in found)
    assert any(name.startswith("process_") for name in found)
    assert any(name.startswith("python_gc_") for name in found)


def test_each_application_has_metrics_of_its_own():
    one, other = Metrics("1.0"), Metrics("1.0")
    end(one)
    assert samples(one)["sentry_graph_http_requests_total POST /graphql 200"] == 1
    assert "sentry_graph_http_requests_total POST /graphql 200" not in samples(other)


def test_a_flood_of_different_values_makes_no_flood_of_series():
    metrics = Metrics("1.0")
    for number in range(10_000):
        metrics.count_call(
            make_call(
                template=f"organizations/{{}}/{number}/",
                host=f"sentry-{number % 500}.example",
                outcome=f"CODE_{number % 300}",
                method=f"METHOD_{number}",
            )
        )
        end(metrics, method=f"METHOD_{number}", is_graphql=True, codes=(f"CODE_{number}",), has_run=True)

    found = samples(metrics)

    calls = {name: value for name, value in found.items() if "sentry_calls_total" in name}
    assert sum(calls.values()) == 10_000
    assert len(calls) <= 2_101
    assert len(found) < 5_000
    assert sum(value for name, value in found.items() if "graphql_errors_total" in name) == 10_000
    assert found["sentry_graph_graphql_errors_total other"] == 9_900


def serve(token: str | None, client: tuple[str, int] | None = ("127.0.0.1", 5000)) -> httpx.AsyncClient:
    app = Starlette(routes=[create_metrics_route(Metrics("1.0"), token=token)])
    transport = httpx.ASGITransport(app, client=client)  # type: ignore[arg-type]  # a Unix socket's client is None
    return httpx.AsyncClient(transport=transport, base_url="http://service.test")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
async def test_without_a_token_this_machine_reads_metrics(host):
    async with serve(None, (host, 5000)) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "sentry_graph_http_requests_open 0.0" in answer.text


@pytest.mark.parametrize("client", [("10.0.0.1", 5000), ("::ffff:192.0.2.1", 1), ("testclient", 5000), None])
async def test_without_a_token_no_other_machine_does(client):
    async with serve(None, client) as http:
        assert (await http.get("/metrics")).status_code == 403


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip"])
async def test_without_a_token_a_proxy_on_this_machine_forwards_nothing(header):
    async with serve(None) as http:
        assert (await http.get("/metrics", headers={header: "127.0.0.1"})).status_code == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer correct-horse", 200), ("Bearer wrong", 401), ("correct-horse", 401), ("Bearer ", 401), ("Bearer é", 401)],
)
async def test_with_a_token_whoever_knows_it_reads_metrics(authorization, status):
    async with serve("correct-horse", ("10.0.0.1", 5000)) as http:
        answer = await http.get("/metrics", headers={"authorization": authorization.encode()})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_with_a_token_this_machine_needs_it_too():
    async with serve("correct-horse") as http:
        assert (await http.get("/metrics")).status_code == 401


async def test_openmetrics_is_spoken_where_it_is_asked_for():
    async with serve(None) as http:
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
