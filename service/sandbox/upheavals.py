"""What can befall a linked account from Sentry's side, done to the world directly: no API exists for most of it."""

from collections.abc import Iterable
from datetime import UTC, datetime

from service.sandbox.call import Call
from service.sandbox.endpoints.credentials import mint
from service.sandbox.endpoints.installations import TOKEN_LIFE, install, uninstall
from service.sandbox.oauth import give_token
from service.sandbox.structure import Barrier, Organization, User, known
from service.sandbox.world import DEMO_APP, DEMO_OAUTH_CLIENT, App, Installation, OAuthApplication, Token, World


class Upheavals:
    """Turns of fate. All raise KeyError for what is unknown; people are named by address, and "" is the owner."""

    world: World

    def blank_call(self) -> Call:
        """A call of nobody's, for what happens without one."""
        raise NotImplementedError

    def revoke(self, token: str) -> None:
        """Revokes by an access token: of OAuth, what the person approved with all its tokens; else this token."""
        found = known(self.world.find_token(token), "token")
        gone = [found]
        if found.application and found.user:
            found.application.approved.pop(found.user.id, None)
            whose = (found.application, found.user)
            gone = [t for t in self.world.tokens.values() if (t.application, t.user) == whose]
        for one in gone:
            del self.world.tokens[one.value]
        for installation in found.app.installations if found.app else ():
            if installation.token is found:
                installation.token = None
        self.world.changed()

    def expire(self, token: str) -> None:
        """Lets an access token expire now; its refresh token stays good."""
        known(self.world.find_token(token), "token").expires = datetime.fromtimestamp(0, UTC)
        self.world.changed()

    def disable_client(self, client_id: str) -> None:
        """Disables an OAuth application or app."""
        clients: list[OAuthApplication | App] = [*self.world.oauth_applications, *self.world.apps]
        client = next((one for one in clients if one.client_id == client_id), None)
        if client is None:
            raise KeyError(client_id)
        client.is_active = False
        self.world.changed()

    def deactivate_user(self, email: str) -> None:
        """Deactivates a person."""
        self._person(email).is_active = False
        self.world.changed()

    def remove_organization(self, slug: str) -> None:
        """Ends an organization and what is installed in it."""
        organization = self._place(slug)
        self.world.organizations.remove(organization)
        for app in self.world.apps:
            app.installations[:] = [i for i in app.installations if i.organization is not organization]
        self.world.changed()

    def raise_barrier(self, slug: str, barrier: Barrier | None) -> None:
        """Lets an organization answer its people's tokens with a 401 that no refresh cures, or no longer."""
        self._place(slug).barrier = barrier
        self.world.changed()

    def install(self, slug: str = DEMO_APP.slug, organization: str = "lumen-labs", *, by: str = "") -> Installation:
        """Installs an app as somebody would in a browser, with its webhook."""
        app = known(self.world.find_app(slug), slug)
        return install(self.blank_call(), app, self._place(organization), self._person(by))

    def uninstall(self, uuid: str, *, by: str = "") -> None:
        """Uninstalls as somebody would, with its webhook."""
        uninstall(self.blank_call(), known(self.world.find_installation(uuid), uuid), self._person(by))

    def grant_oauth(
        self, scopes: Iterable[str], *, by: str = "", client_id: str = DEMO_OAUTH_CLIENT.client_id
    ) -> Token:
        """An OAuth token with its refresh token, as after consent and exchange."""
        application, user = known(self.world.find_oauth_application(client_id), client_id), self._person(by)
        granted = frozenset(scopes)
        application.approved[user.id] = application.approved.get(user.id, frozenset()) | granted
        token = give_token(self.blank_call(), application, user, granted)
        self.world.changed()
        return token

    def grant_installation(self, organization: str = "lumen-labs", slug: str = DEMO_APP.slug) -> Token:
        """The token of an app's installation, as after install, exchange and confirmation."""
        place, app = self._place(organization), known(self.world.find_app(slug), slug)
        found = app.installation_in(place) or self.install(slug, organization)
        call = self.blank_call()
        token = mint(call, app, place)
        token.expires = call.now + TOKEN_LIFE
        found.token, found.code, found.status = token, None, "installed"
        return token

    def _person(self, email: str) -> User:
        return self.world.users[0] if not email else known(self.world.find_user(email), email)

    def _place(self, slug: str) -> Organization:
        return known(self.world.find_organization(slug, "23.7"), slug)
