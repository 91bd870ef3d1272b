import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Constrained, PathRefused
from service.sentry.access import AccessFacts, authorize
from service.sentry.methods import METHODS
from service.sentry.paths import ApiPath
from service.sentry.profiles import SCOPES, Profile, allows, missing_scopes
from tests.sentry.access_table import TABLE

INSTALLATION = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
FACTS = AccessFacts("1", "acme", INSTALLATION)
CALLS = [
    (method, template)
    for _, _, methods, template in (line.split() for line in TABLE.strip().splitlines())
    for method in methods.split(",")
]

# Every write that `triage` lets through, of all that the proxy knows; each was decided by a person.
TRIAGE = {
    ("PUT", "organizations/{o}/issues/"),
    ("PUT", "organizations/{o}/issues/{id}/"),
    ("POST", "organizations/{o}/issues/{id}/comments/"),
    ("POST", "organizations/{o}/issues/{id}/integrations/{id}/"),
    ("PUT", "organizations/{o}/issues/{id}/integrations/{id}/"),
    ("DELETE", "organizations/{o}/issues/{id}/integrations/{id}/"),
    ("PUT", "projects/{o}/{p}/issues/"),
    ("PUT", "issues/{id}/"),
    ("POST", "sentry-app-installations/{uuid}/external-issues/"),
    ("DELETE", "sentry-app-installations/{uuid}/external-issues/{id}/"),
}


def fill(template: str) -> ApiPath:
    known = {"{o}": "{organization}", "{p}": "web", "{uuid}": INSTALLATION}
    return ApiPath.parse(re.sub(r"\{\w+\}", lambda found: known.get(found[0], "7"), template))


@pytest.mark.parametrize(("method", "template"), CALLS, ids=[" ".join(call) for call in CALLS])
def test_every_endpoint_is_decided(method: str, template: str) -> None:
    is_read = method in {"GET", "HEAD"}
    path = fill(template)
    assert allows(Profile.READ, method, path) == is_read
    assert allows(Profile.TRIAGE, method, path) == (is_read or (method, template) in TRIAGE)
    assert allows(Profile.FULL, method, path)


@pytest.mark.parametrize(("method", "template"), CALLS, ids=[" ".join(call) for call in CALLS])
def test_the_path_that_is_sent_is_judged_as_the_callers_is(method: str, template: str) -> None:
    path = fill(template)
    try:
        sent = authorize(path, method, (), FACTS).path
    except (PathRefused, Constrained):
        return
    for profile in Profile:
        assert allows(profile, method, sent) == allows(profile, method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "organizations/acme/groups/7/"),
        ("POST", "organizations/acme/groups/7/notes/"),
        ("PUT", "organizations/acme/issues/7/comments/8/"),
        ("DELETE", "organizations/acme/issues/7/notes/8/"),
        ("DELETE", "organizations/acme/issues/7/external-issues/8/"),
        ("PUT", "projects/acme/web/groups/"),
        ("POST", "groups/7/comments/"),
        ("DELETE", "issues/7/comments/8"),
    ],
)
def test_triage_knows_the_other_names(method: str, path: str) -> None:
    assert allows(Profile.TRIAGE, method, ApiPath.parse(path))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "organizations/acme/issues/"),
        ("DELETE", "organizations/acme/issues/7/"),
        ("DELETE", "organizations/acme/groups/7/"),
        ("DELETE", "projects/acme/web/issues/"),
        ("DELETE", "issues/7/"),
        ("DELETE", "organizations/acme/issues/7/comments/"),
        ("POST", "organizations/acme/issues/"),
        ("PATCH", "organizations/acme/issues/7/"),
        ("POST", "organizations/acme/issues/7/autofix/"),
        ("DELETE", "organizations/acme/issues/7/hashes/"),
        ("PUT", "organizations/acme/"),
        ("PUT", "organizations/issues/"),
        ("PUT", "projects/issues/issues/"),
        ("PUT", "projects/acme/issues/"),
        ("PUT", "projects/acme/web/issues/7/"),
        ("PUT", "organizations/acme/ISSUES/7/"),
        ("PUT", "teams/issues/issues/"),
        ("PUT", f"sentry-app-installations/{INSTALLATION}/"),
        ("POST", "api-tokens/"),
        ("POST", ""),
    ],
)
def test_triage_changes_nothing_else(method: str, path: str) -> None:
    assert not allows(Profile.TRIAGE, method, ApiPath.parse(path))
    assert not allows(Profile.READ, method, ApiPath.parse(path))


WORDS = st.sampled_from(
    ["organizations", "projects", "teams", "issues", "groups", "comments", "notes", "external-issues", "acme", "7"]
)


@given(profile=st.sampled_from(Profile), method=st.sampled_from(sorted(METHODS)), words=st.lists(WORDS, max_size=7))
def test_a_narrower_profile_never_allows_more(profile: Profile, method: str, words: list[str]) -> None:
    path = ApiPath.of(*words)
    order = list(Profile)
    narrower = order[: order.index(profile)]
    assert allows(profile, method, path) or not any(allows(each, method, path) for each in narrower)


@pytest.mark.parametrize("profile", Profile)
def test_each_profile_asks_for_what_the_narrower_ones_ask_for_and_never_for_the_organization_itself(
    profile: Profile,
) -> None:
    order = list(Profile)
    for narrower in order[: order.index(profile)]:
        assert set(SCOPES[narrower]) < set(SCOPES[profile])
    assert "org:admin" not in SCOPES[profile]
    assert len(set(SCOPES[profile])) == len(SCOPES[profile])


@pytest.mark.parametrize(
    ("profile", "held", "missing"),
    [
        (Profile.READ, SCOPES[Profile.FULL], ()),
        (Profile.READ, (), SCOPES[Profile.READ]),
        (Profile.READ, ("org:admin", "member:write", "team:admin", "project:write", "event:admin"), ()),
        (Profile.TRIAGE, SCOPES[Profile.READ], ("event:write",)),
        (Profile.TRIAGE, (*SCOPES[Profile.READ], "event:admin"), ()),
        (Profile.READ, ("project:releases", "org:ci", "read", "org:", ""), SCOPES[Profile.READ]),
        (
            Profile.FULL,
            ("org:admin", "member:admin", "team:admin", "project:admin", "event:admin", "alerts:write"),
            ("project:releases",),
        ),
    ],
)
def test_missing_scopes(profile: Profile, held: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert missing_scopes(profile, held) == missing
