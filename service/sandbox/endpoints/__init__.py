"""The endpoints, by subject. Each module lists its own; order decides where templates overlap."""

from service.sandbox.call import Endpoint
from service.sandbox.endpoints import (
    comments,
    credentials,
    installations,
    issues,
    members,
    organizations,
    projects,
    releases,
    service_hooks,
    teams,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *organizations.ENDPOINTS,
    *members.ENDPOINTS,
    *teams.ENDPOINTS,
    *projects.ENDPOINTS,
    *issues.ENDPOINTS,
    *comments.ENDPOINTS,
    *releases.ENDPOINTS,
    *service_hooks.ENDPOINTS,
    *credentials.ENDPOINTS,
    *installations.ENDPOINTS,
)
