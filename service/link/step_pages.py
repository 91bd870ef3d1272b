"""The pages of the steps: what each of them shows."""

from collections.abc import Collection, Sequence
from typing import Any

from starlette.responses import Response

from service.connections.link_models import LinkMethod
from service.connections.models import ConnectionRecord
from service.link.browser import Mode, View
from service.link.flow import fingerprint
from service.link.holding import HeldInstall
from service.link.pending import Pending, Reachable
from service.link.records import offered
from service.link.rendering import Alert, Renderer
from service.link.returning import build_return_url, find_host
from service.link.scopes import describe, goes_beyond
from service.link.visits import Visit
from service.sentry.installations import SentryApp
from service.sentry.oauth import OAuthClient
from service.sentry.payloads import Project
from service.sentry.profiles import SCOPES

_STEPS = ("ways", "organization", "projects", "confirm")
_SAAS = "https://sentry.io"
_PLACES = ((_SAAS, "saas"), ("https://us.sentry.io", "us"), ("https://de.sentry.io", "de"), ("other", "other"))


class StepPages:
    """Each takes what did not work, if anything, as ``alert``."""

    def __init__(self, renderer: Renderer, *, private_ca: bool) -> None:
        self._renderer = renderer
        self._words = renderer.words
        self._private_ca = private_ca

    def ways(
        self,
        visit: Visit,
        view: View,
        alert: Alert | None,
        *,
        oauth: Sequence[OAuthClient],
        apps: Sequence[SentryApp],
        held: HeldInstall | None,
        installed: ConnectionRecord | None,
    ) -> Response:
        """The ways to choose from."""
        return self._step(
            "ways",
            visit,
            view,
            alert,
            oauth=oauth,
            apps=apps,
            held=held,
            installed=installed,
            has_token=LinkMethod.TOKEN in offered(visit.record),
        )

    def token(
        self, visit: Visit, view: View, alert: Alert | None, *, has_others: bool, chosen: str = "", address: str = ""
    ) -> Response:
        """The form to paste a token into. The token itself is never shown again."""
        fixed = visit.record.origin
        saas = (fixed or chosen or _SAAS).endswith("sentry.io")
        place = fixed or _SAAS
        return self._step(
            "token",
            visit,
            view,
            alert,
            can_go_back=has_others,
            fixed_origin=fixed,
            places=_PLACES,
            chosen=chosen or _SAAS,
            address=address,
            takes_ca=self._private_ca,
            integration_url=f"{place}/settings/developer-settings/new-internal/" if saas or fixed else None,
            personal_url=f"{place}/settings/account/api/auth-tokens/" if saas or fixed else None,
            scopes=SCOPES[visit.record.profile],
        )

    def check(self, visit: Visit, view: View, alert: Alert | None) -> Response:
        """Another try, where Sentry granted access and then failed."""
        return self._step("check", visit, view, alert, can_go_back=True)

    def organization(self, visit: Visit, view: View, alert: Alert | None, pending: Pending) -> Response:
        """Which of the organizations, or the slug where none are listed."""
        return self._step(
            "organization", visit, view, alert, can_go_back=True, organizations=pending.organizations or ()
        )

    def projects(
        self,
        visit: Visit,
        view: View,
        alert: Alert | None,
        pending: Pending,
        *,
        projects: Sequence[Project],
        chosen: Collection[str],
        is_failing: bool,
    ) -> Response:
        """All projects, or which."""
        return self._step(
            "projects",
            visit,
            view,
            alert,
            can_go_back=True,
            organization=find_organization(pending).name,
            projects=projects,
            chosen=chosen,
            is_failing=is_failing,
            filter_count=self._words.fields("projects.filter_count"),
        )

    def confirm(
        self, visit: Visit, view: View, alert: Alert | None, pending: Pending, *, projects: Sequence[str] | None
    ) -> Response:
        """The summary."""
        can, cannot = describe(visit.record.profile, pending.scopes, self._words)
        return self._step(
            "confirm",
            visit,
            view,
            alert,
            can_go_back=True,
            organization=find_organization(pending),
            origin=pending.origin,
            method=pending.method,
            projects=projects,
            can=can,
            cannot=cannot,
            can_more=goes_beyond(visit.record.profile, pending.scopes),
            seen=fingerprint(visit.record),
        )

    def _step(
        self, page: str, visit: Visit, view: View, alert: Alert | None, *, can_go_back: bool = False, **model: Any
    ) -> Response:
        record = visit.record
        current = page if page in _STEPS else "ways"
        leave_url = build_return_url(record, "denied") if view.mode is Mode.REDIRECT else None
        return self._renderer.render(
            page,
            self._words(f"{page}.title"),
            view,
            code=200 if alert is None else alert.code,
            alert=alert,
            data={"session": record.id},
            session=record.id,
            asks=self._words("common.asks", tenant=visit.tenant_name),
            tenant=visit.tenant_name,
            customer=visit.customer,
            steps=[
                name
                for name in _STEPS
                if not (name == "projects" and record.projects) and not (name == "organization" and record.organization)
            ],
            current=current,
            can_go_back=can_go_back,
            leave_host=find_host(leave_url) if leave_url else "",
            **model,
        )


def find_organization(pending: Pending) -> Reachable:
    """The chosen organization."""
    slug = pending.organization or ""
    known = (each for each in pending.organizations or () if each.slug == slug)
    return next(known, Reachable("", slug, slug))
