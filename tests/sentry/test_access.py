import re
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.errors import Constrained, PathRefused
from service.sentry.access import AccessFacts, Authorized, ProjectRef, authorize
from service.sentry.paths import ApiPath
from tests.scale import scaled
from tests.sentry.access_table import TABLE

INSTALLATION = "7a485448-a9e2-4c85-8a3c-4f44175783c9"
WHOLE = AccessFacts("1", "acme", INSTALLATION)
WEB = ProjectRef("3", "web")
API = ProjectRef("4", "api")
ONE = replace(WHOLE, projects=(WEB,))
TWO = replace(WHOLE, projects=(WEB, API))

ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()]
# Words that smell of credentials. A path with one of them is refused, or named here with the reason why it is not.
SMELL = re.compile(
    r"token|secret|key|auth|credential|password|hook|plugin|transfer|applic|sentry-app|oauth|sso|2fa|saml"
)
HARMLESS = {
    "organizations/{o}/project-keys/": "client keys may be read",
    "projects/{o}/{p}/keys/": "client keys may be read",
    "projects/{o}/{p}/keys/{id}/": "client keys may be read",
    "projects/{o}/{p}/keys/{id}/stats/": "numbers",
    "organizations/{o}/sentry-app-components/": "buttons and forms that apps add to the interface",
    "sentry-app-installations/{uuid}/external-issues/": "links to issues elsewhere",
    "sentry-app-installations/{uuid}/external-issues/{id}/": "links to issues elsewhere",
}


def fill(template: str) -> str:
    known = {"{o}": "acme", "{p}": "web", "{uuid}": INSTALLATION}
    return re.sub(r"\{\w+\}", lambda found: known.get(found[0], "7"), template)


def verdict(path: str, method: str, facts: AccessFacts) -> str:
    try:
        found = authorize(ApiPath.parse(path), method, (), facts)
    except PathRefused:
        return "refused"
    except Constrained:
        return "constrained"
    if found.check is not None:
        return "checked"
    return "limited" if any(key == "project" for key, _ in found.query) else "allowed"


@pytest.mark.parametrize(("free", "limited", "methods", "template"), ROWS, ids=[" ".join(row[2:]) for row in ROWS])
def test_every_endpoint_is_decided(free, limited, methods, template):
    for method in methods.split(","):
        assert verdict(fill(template), method, WHOLE) == free
        assert verdict(fill(template), method, ONE) == limited


def test_an_endpoint_that_smells_of_credentials_is_refused_or_explained():
    open_to_somebody = {template for free, _, _, template in ROWS if free != "refused" and SMELL.search(template)}
    assert open_to_somebody == set(HARMLESS)


@pytest.mark.parametrize(
    "name",
    [
        "member-access-tokens",
        "client_secret",
        "rotate-secret",
        "apiKeys",
        "oauth-clients",
        "credentials-v2",
        "sso-password",
    ],
)
def test_endpoints_that_do_not_exist_yet_are_refused_by_their_names(name):
    for path in (f"organizations/acme/{name}", f"projects/acme/web/{name}/7", f"organizations/acme/seer/{name}"):
        assert verdict(path, "GET", WHOLE) == "refused"


@pytest.mark.parametrize(
    "path",
    [
        "organizations/acme/API-Tokens", "organizations/acme/api_keys/", "organizations/acme/api%2Dkeys/",
        "organizations/1/org-auth-tokens/", "/api/0/organizations/acme/sentry-apps",
        "organizations/acme/sentry%2dapps/7", "projects/acme/web/releases/TOKEN",
        "organizations/{organization}/plugins", "issues/7/plugins/jira/",
        "organizations/acme/x/../api-keys", "organizations/acme/Members/7/", "organizations/1/members/me",
        "organizations/acme/projects/web/hooks/", "projects/acme/3/KEYS/",
    ],
)  # fmt: skip
def test_credentials_cannot_be_reached_by_case_id_encoding_or_slash(path):
    assert verdict(path, "POST", WHOLE) == "refused"


@pytest.mark.parametrize(
    "path",
    [
        "projects/acme/auth-tokens/", "teams/acme/token-service/members/", "organizations/acme/releases/fix-token@1.0/",
        "organizations/acme/tags/session_token/values/", "organizations/acme/shortids/TOKEN-SERVICE-12/",
        "organizations/acme/issues/TOKEN-SERVICE-12/events/", "organizations/acme/monitors/rotate-secrets/",
        "projects/acme/web/environments/secret-lab/", "organizations/acme/members/7/teams/oauth/",
    ],
)  # fmt: skip
def test_a_customers_own_names_may_hold_such_words(path):
    assert verdict(path, "GET", WHOLE) == "allowed"


def test_placeholders_are_filled_from_the_connection():
    found = authorize(ApiPath.parse("projects/{organization}/{project}/events/"), "GET", [("full", "1")], ONE)
    assert found == Authorized(ApiPath.of("projects", "acme", "web", "events"), (("full", "1"),))


@pytest.mark.parametrize("facts", [WHOLE, TWO, replace(WHOLE, projects=())])
def test_the_project_placeholder_needs_exactly_one_project(facts):
    with pytest.raises(PathRefused, match="exactly one"):
        authorize(ApiPath.parse("projects/{organization}/{project}/"), "GET", (), facts)


@pytest.mark.parametrize("placeholder", ["{issue}", "{}", "{organization_slug}"])
def test_other_placeholders_are_named(placeholder):
    with pytest.raises(PathRefused, match="cannot be filled"):
        authorize(ApiPath.parse(f"organizations/acme/issues/{placeholder}/"), "GET", (), WHOLE)


@pytest.mark.parametrize("own", ["acme", "1", "{organization}"])
def test_the_organization_is_always_sent_by_its_slug(own):
    assert (
        authorize(ApiPath.of("organizations", own, "teams"), "GET", (), WHOLE).path.text == "organizations/acme/teams/"
    )


@pytest.mark.parametrize("other", ["small", "ACME", "Acme", "acme ", "2", "01", "\uff41cme"])
@pytest.mark.parametrize("root", ["organizations/{}/teams", "projects/{}/web", "teams/{}/web"])
def test_other_organizations_are_refused(root, other):
    with pytest.raises(PathRefused, match="another organization"):
        authorize(ApiPath.parse(root.format(quote(other))), "GET", (), WHOLE)


@pytest.mark.parametrize(
    "path",
    ["", "organizations", "Organizations/acme", "projects/acme", "users/me", "0/organizations", "issues", "auth"],
)
def test_other_roots_are_refused_and_the_allowed_ones_named(path):
    with pytest.raises(PathRefused) as caught:
        authorize(ApiPath.parse(path), "GET", (), WHOLE)
    assert "organizations/{organization}" in (caught.value.cure or "")


@pytest.mark.parametrize("installation", [None, "7A485448-a9e2-4c85-8a3c-4f44175783c9", "other"])
def test_only_the_own_installation_is_reached(installation):
    path = ApiPath.of("sentry-app-installations", INSTALLATION, "external-issues")
    assert authorize(path, "POST", (), WHOLE).path == path
    with pytest.raises(PathRefused):
        authorize(path, "POST", (), replace(WHOLE, installation_id=installation))


@pytest.mark.parametrize("legacy", ["issues/7/comments", "groups/7/comments", "organizations/acme/groups/7/comments"])
def test_legacy_issues_are_sent_below_the_organization(legacy):
    assert authorize(ApiPath.parse(legacy), "POST", (), WHOLE).path.text == "organizations/acme/issues/7/comments/"


def test_the_list_of_integrations_comes_without_their_keys():
    found = authorize(
        ApiPath.parse("organizations/acme/integrations/"),
        "GET",
        [("includeConfig", "1"), ("providerKey", "slack")],
        WHOLE,
    )
    assert found.query == (("providerKey", "slack"), ("includeConfig", "0"))


# --- the project constraint ---

ISSUES = ApiPath.of("organizations", "acme", "issues")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ([], ["3", "4"]), ([("project", "-1")], ["3", "4"]), ([("project", "$all")], ["3", "4"]),
        ([("project", "web")], ["3"]), ([("project", "4"), ("project", "api")], ["4"]),
        ([("project", "-1"), ("project", "4")], ["4"]),
    ],
)  # fmt: skip
def test_the_project_parameter_is_ours(asked, sent):
    query = [("query", "is:unresolved"), *asked]
    found = authorize(ISSUES, "GET", query, TWO)
    assert found.query == (("query", "is:unresolved"), *(("project", value) for value in sent))


@pytest.mark.parametrize("value", ["5", "other", "", "WEB", "3,5", "3 "])
def test_other_projects_are_constrained(value):
    with pytest.raises(Constrained):
        authorize(ISSUES, "GET", [("project", "3"), ("project", value)], TWO)
    with pytest.raises(Constrained):
        authorize(ApiPath.of("projects", "acme", value or "-", "events"), "GET", (), TWO)


@pytest.mark.parametrize(
    "parameter",
    ["projectSlug", "project_id", "projectId", "project[]", "Project", "shortIdLookup", "viewId", "searchId"],
)
def test_parameters_that_could_widen_the_search_are_constrained(parameter):
    with pytest.raises(Constrained, match=re.escape(parameter)):
        authorize(ISSUES, "GET", [(parameter, "1")], ONE)


@pytest.mark.parametrize("parameter", ["projectSlug", "project", "Project", "shortIdLookup", "shortidlookup"])
@pytest.mark.parametrize(
    "path", ["projects/acme/web/issues", "issues/7/events", "organizations/acme/projects/web/detectors"]
)
def test_project_level_paths_cannot_be_widened(path, parameter):
    with pytest.raises(Constrained, match=parameter):
        authorize(ApiPath.parse(path), "GET", [(parameter, "1")], ONE)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 32,
        " " + "a1" * 16 + " ",
        "6f1f1f1e-1111-4222-8333-444455556666",
        "{" + "A" * 32 + "}",
        "urn:uuid:" + "0" * 32,
    ],
)
def test_a_query_that_sentry_takes_for_an_events_id_is_constrained(text):
    with pytest.raises(Constrained, match="event"):
        authorize(ISSUES, "GET", [("query", text)], ONE)
    assert authorize(ISSUES, "GET", [("query", f"event.id:{text}")], ONE).query[0] == ("query", f"event.id:{text}")


@pytest.mark.parametrize("name", ["web", "3", "{project}"])
def test_projects_are_sent_by_slug(name):
    assert (
        authorize(ApiPath.of("projects", "acme", name, "events"), "GET", (), ONE).path.text
        == "projects/acme/web/events/"
    )
    nested = ApiPath.of("organizations", "acme", "projects", name, "detectors")
    assert authorize(nested, "POST", (), ONE).path.text == "organizations/acme/projects/web/detectors/"


def test_a_slug_of_digits_is_never_sent_as_a_path():
    digits = replace(WHOLE, projects=(ProjectRef("3", "42"),))
    with pytest.raises(Constrained, match="number"):
        authorize(ApiPath.of("projects", "acme", "3", "events"), "GET", (), digits)
    assert authorize(ISSUES, "GET", [("project", "42")], digits).query == (("project", "3"),)


def test_a_constraint_of_no_project_never_becomes_every_project():
    nothing = replace(WHOLE, projects=())
    for path in ("organizations/acme/issues", "projects/acme/web", "organizations/acme/stats_v2"):
        assert verdict(path, "GET", nothing) == "constrained"


def test_an_issue_by_its_id_is_looked_up_first():
    found = authorize(ApiPath.parse("issues/7/events/latest/"), "GET", [("full", "1")], ONE)
    assert found.path.text == "organizations/acme/issues/7/events/latest/"
    assert found.check is not None
    assert found.check.text == "organizations/acme/issues/7/"


NAMES = st.sampled_from(
    ["organizations", "projects", "teams", "issues", "groups", "acme", "1", "small", "web", "3", "other", "api-tokens",
     "events", "members", "7", "{organization}", "{project}", "keys", "sentry-app-installations", INSTALLATION,
     "external-issues", "releases", "tags", "hooks", "..", "%2e%2e", "a%2fb", "", "?x", "a;b", "\\"]
)  # fmt: skip


@settings(max_examples=scaled(test=400, soak=20_000))
@given(
    start=st.sampled_from(
        [(), ("organizations", "acme"), ("projects", "acme", "web"), ("projects", "1"), ("teams", "1")]
    ),
    parts=st.lists(NAMES | st.text(max_size=8), max_size=5),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    query=st.lists(
        st.tuples(st.sampled_from(["project", "query", "cursor", "projectSlug"]), st.text(max_size=5)), max_size=3
    ),
    facts=st.sampled_from([WHOLE, ONE, TWO]),
)
@example(start=(), parts=["organizations", "acme", "issues"], method="GET", query=[], facts=ONE)
def test_whatever_passes_is_below_the_connections_own_roots(start, parts, method, query, facts):
    try:
        found = authorize(ApiPath.parse("/".join([*start, *parts])), method, query, facts)
    except (PathRefused, Constrained):
        return
    root, *rest = found.path.segments
    match root:
        case "organizations" | "teams":
            assert rest[0] == "acme"
        case "projects":
            assert rest[0] == "acme"
            assert facts.projects is None or rest[1] in {project.slug for project in facts.projects}
        case _:
            assert (root, *rest[:2]) == ("sentry-app-installations", INSTALLATION, "external-issues")
    if facts.projects is not None:
        asked = {value for key, value in found.query if key == "project"}
        assert asked <= {project.id for project in facts.projects}
        assert asked or found.check or root == "projects" or rest[1] == "projects"
