"""The credentials that open the made-up world: obviously made up, constant, and good nowhere else."""

import base64
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoTokens:
    """The sandbox's tokens: obviously made up, and good nowhere else."""

    admin: str = "sntryu_" + "5a" * 32
    "A user token with every scope, of an owner of every organization."
    limited: str = "sntryu_" + "1b" * 32
    "The same owner's token with org:read and project:read only: it may not read members or teams."
    expired: str = "sntryu_" + "0c" * 32
    "The same owner's token, expired."
    member: str = "sntryu_" + "3d" * 32
    "Every scope, but of a plain member of the largest organization only: the role is the limit."
    internal: str = "sntryi_" + "4e" * 32
    "An internal integration of the largest organization; it lists no organizations."
    app: str = "6f" * 32
    "A public app's token, bound to the second organization."
    organization_ending: str = "SANDBOXonlySANDBOXonlySANDBOXonlySANDBOXonl"
    "What an organization token ends in; see :meth:`organization_token`."

    def organization_token(self, url: str, organization: str = "lumen-labs") -> str:
        """The organization token ``sntrys_…`` as the server at ``url`` hands it out: both are readable inside it."""
        return write_organization_token(url, organization, self.organization_ending)


def write_organization_token(url: str, organization: str, secret: str) -> str:
    """``sntrys_`` + base64 of a JSON object that names host and organization + ``_`` + 43 characters of secret."""
    payload = {"iat": 1767225600.0, "url": url, "region_url": url, "org": organization}
    return f"sntrys_{base64.b64encode(json.dumps(payload).encode()).decode()}_{secret}"


DEMO_TOKENS = DemoTokens()


@dataclass(frozen=True, slots=True)
class DemoOAuthClient:
    """An OAuth application of the sandbox. Its redirect URIs are set at run time: ``Sandbox.register_redirects``."""

    client_id: str = "7a" * 32
    client_secret: str = "8b" * 32
    name: str = "Account Linker"


@dataclass(frozen=True, slots=True)
class DemoApp:
    """A published integration of the sandbox, installed nowhere yet. Its addresses are set at run time, too."""

    slug: str = "graph-linker"
    name: str = "Graph Linker"
    client_id: str = "9c" * 32
    client_secret: str = "ad" * 32
    verify_install: bool = True


@dataclass(frozen=True, slots=True)
class DemoInternalApp:
    """The internal integration of the largest organization, whose token is ``DEMO_TOKENS.internal``.

    Its webhook URL is set at run time, too.
    """

    slug: str = "internal-sync"
    client_id: str = "be" * 32
    client_secret: str = "cf" * 32


DEMO_OAUTH_CLIENT = DemoOAuthClient()
DEMO_APP = DemoApp()
DEMO_INTERNAL_APP = DemoInternalApp()
DEMO_PASSWORD = "made-up-password"  # noqa: S105 (good nowhere else)
"The password of everybody in the sandbox."
