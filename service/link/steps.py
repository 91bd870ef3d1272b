"""The pages of a started session: shows its present step, and does what its forms ask for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from starlette.responses import RedirectResponse, Response

from service.connections.link_models import LinkMethod, LinkSessionStatus
from service.errors import ServiceError, StorageUnavailable
from service.link.attempts import Attempts
from service.link.browser import HELD_COOKIE, Form, Mode, View, hold
from service.link.flow import LinkFlow, Step, find_step
from service.link.installing import InstallWay
from service.link.oauth import OAuthWay
from service.link.pages import Pages
from service.link.pending import Pending
from service.link.problems import LinkProblem, SessionEnded, StepRefused, find_problem
from service.link.records import find_status, offered
from service.link.rendering import Alert, Renderer
from service.link.returning import build_return_url
from service.link.step_pages import StepPages
from service.link.visits import Visit, Visits
from service.sentry.payloads import Project

_log = structlog.get_logger(__name__)

# What is the person's to put right at once: it is said, and neither kept nor audited.
_PASSING = frozenset({LinkProblem.CHANGED, LinkProblem.INVALID_INPUT})


@dataclass(frozen=True, slots=True)
class Turn:
    """One request about a started session."""

    visit: Visit
    view: View
    pending: Pending | None
    cookies: dict[str, str]
    form: Form

    @property
    def received(self) -> Pending:
        """What was received. Raises :class:`StepRefused` where nothing was: a page that was left open."""
        if self.pending is None:
            raise StepRefused(LinkProblem.CHANGED)
        return self.pending


class Steps:
    """Shows and takes the steps."""

    def __init__(
        self,
        visits: Visits,
        flow: LinkFlow,
        oauth: OAuthWay,
        install: InstallWay,
        attempts: Attempts,
        pages: Pages,
        step_pages: StepPages,
        renderer: Renderer,
    ) -> None:
        self._visits = visits
        self._flow = flow
        self._oauth = oauth
        self._install = install
        self._attempts = attempts
        self._pages = pages
        self._step_pages = step_pages
        self._renderer = renderer
        self._actions: dict[str, Callable[[Turn], Awaitable[Response | None]]] = {
            "oauth": self._begin_oauth,
            "install": self._begin_install,
            "held": self._use_held,
            "installed": self._use_installed,
            "token": self._paste,
            "check": self._check,
            "organization": self._choose_organization,
            "projects": self._choose_projects,
            "back": self._back,
            "restart": self._restart,
            "confirm": self._confirm,
            "leave": self._leave,
        }

    def knows(self, action: str) -> bool:
        """Whether there is such an action."""
        return action in self._actions

    async def act(self, turn: Turn, action: str) -> Response:
        """Do what a form asks for; the answer is a page, or leads to one."""
        record = turn.visit.record
        try:
            answer = await self._actions[action](turn)
        except SessionEnded:
            return self.after_end(await self._visits.reload(turn.visit), turn.view)
        except StepRefused as refused:
            return await self._refuse(turn, action, refused.problem, refused.details)
        except StorageUnavailable:
            raise
        except ServiceError as error:
            _log.info("link_step_failed", session=record.id, action=action, code=error.code)
            return await self._refuse(turn, action, find_problem(error), error.message)
        return answer or self.present(turn.visit)

    def present(self, visit: Visit) -> Response:
        """To the page of the present step."""
        return RedirectResponse(f"{self._renderer.base}/link/{visit.record.id}", 303)

    def after_end(self, visit: Visit, view: View) -> Response:
        """What a form is answered whose session is completed, or has moved on.

        Where a completed one leads to another site, by a page: a redirect would belong to the form's own navigation,
        which the page's policy keeps to us.
        """
        is_completed = visit.record.status is LinkSessionStatus.COMPLETED
        is_leading_away = view.mode is Mode.REDIRECT and visit.record.redirect_uri is not None
        return self._pages.done(visit, view) if is_completed and is_leading_away else self.present(visit)

    async def show(self, turn: Turn, *, way: str | None = None, alert: Alert | None = None) -> Response:
        """The page of the present step. ``way`` is ``token`` where that way was chosen on the first."""
        visit, view = turn.visit, turn.view
        record = visit.record
        if record.status is LinkSessionStatus.COMPLETED:
            return self.end(visit, view)
        if not visit.is_open:
            return self._pages.problem(find_status(record), 410, visit, view)
        if turn.pending is None:
            return self._show_ways(turn, way, alert)
        return await self._show_received(turn, turn.pending, alert)

    def end(self, visit: Visit, view: View) -> Response:
        """Where a completed session leads."""
        going = build_return_url(visit.record, "completed") if view.mode is Mode.REDIRECT else None
        return self._pages.done(visit, view) if going is None else RedirectResponse(going, 303)

    # --- the first step ---

    def _show_ways(self, turn: Turn, way: str | None, alert: Alert | None) -> Response:
        visit, view = turn.visit, turn.view
        alert = alert or self._stored_alert(visit)
        oauth, apps = self._oauth.clients(visit.record), self._install.apps(visit.record)
        held = self._install.find_held(visit.record, turn.cookies.get(HELD_COOKIE))
        installed = self._install.find_installed(visit)
        has_others = bool(oauth or apps or held or installed)
        if LinkMethod.TOKEN in offered(visit.record) and (way == "token" or not has_others):
            chosen, address = turn.form.get("origin", ""), turn.form.get("address", "")
            return self._step_pages.token(visit, view, alert, has_others=has_others, chosen=chosen, address=address)
        return self._step_pages.ways(visit, view, alert, oauth=oauth, apps=apps, held=held, installed=installed)

    def _stored_alert(self, visit: Visit) -> Alert | None:
        problem = visit.record.problem
        return None if problem is None else self._renderer.alert(problem, visit.tenant_name)

    async def _begin_oauth(self, turn: Turn) -> Response:
        url = await self._oauth.begin(turn.visit, turn.form.get("client"))
        return self._pages.away(turn.view, url)

    async def _begin_install(self, turn: Turn) -> Response:
        url = await self._install.begin(turn.visit, turn.form.get("client"))
        return self._pages.away(turn.view, url)

    async def _use_held(self, turn: Turn) -> Response:
        held = self._install.find_held(turn.visit.record, turn.cookies.get(HELD_COOKIE))
        if held is None:
            raise StepRefused(LinkProblem.GRANT_REFUSED)
        await self._install.finish(
            turn.visit,
            held.client_id,
            installation_id=held.installation_id,
            code=held.code,
            organization=held.organization,
        )
        answer = self.present(turn.visit)
        hold(answer, "", seconds=0)
        return answer

    async def _use_installed(self, turn: Turn) -> None:
        await self._install.use_installed(turn.visit)

    async def _paste(self, turn: Turn) -> None:
        form = turn.form
        origin = form.get("origin", "")
        if origin == "other":
            origin = form.get("address", "").strip()
            if not origin:
                raise StepRefused(LinkProblem.INVALID_INPUT)
        await self._flow.paste(
            turn.visit, token=form.get("token", "").strip(), origin=origin, ca=form.get("ca", "").strip() or None
        )

    async def _check(self, turn: Turn) -> None:
        await self._flow.check(turn.visit, turn.received)

    # --- the steps between ---

    async def _show_received(self, turn: Turn, pending: Pending, alert: Alert | None) -> Response:
        visit, view = turn.visit, turn.view
        step = find_step(visit.record, pending)
        if step is Step.CHECK:
            return self._step_pages.check(visit, view, alert or self._stored_alert(visit))
        if step is Step.ORGANIZATION:
            return self._step_pages.organization(visit, view, alert, pending)
        if step is Step.PROJECTS:
            return await self._show_projects(turn, pending, alert)
        projects = await self._name_projects(visit, pending)
        return self._step_pages.confirm(visit, view, alert, pending, projects=projects)

    async def _choose_organization(self, turn: Turn) -> None:
        await self._flow.choose_organization(turn.visit, turn.received, turn.form.get("organization", ""))

    async def _show_projects(self, turn: Turn, pending: Pending, alert: Alert | None) -> Response:
        visit = turn.visit
        projects: list[Project] = []
        is_failing = False
        try:
            projects = await self._flow.list_projects(visit, pending)
        except ServiceError as error:
            is_failing = error.retryable
            _log.info("link_projects_not_listed", session=visit.record.id, code=error.code)
        before = visit.linked.projects if visit.linked else None
        chosen = pending.projects or tuple(each["id"] for each in before or ())
        known = {each.id for each in projects}
        return self._step_pages.projects(
            visit,
            turn.view,
            alert,
            pending,
            projects=projects,
            chosen=[each for each in chosen if each in known],
            is_failing=is_failing,
        )

    async def _choose_projects(self, turn: Turn) -> None:
        choice = turn.form.get("choice")
        if choice not in {"all", "some"}:
            raise StepRefused(LinkProblem.INVALID_INPUT)
        projects = None if choice == "all" else turn.form.getlist("project")
        await self._flow.choose_projects(turn.visit, turn.received, projects)

    async def _back(self, turn: Turn) -> None:
        await self._attempts.end(turn.visit.record)
        await self._flow.back(turn.visit, turn.pending)

    async def _restart(self, turn: Turn) -> None:
        await self._attempts.end(turn.visit.record)
        await self._flow.restart(turn.visit)

    # --- the end ---

    async def _name_projects(self, visit: Visit, pending: Pending) -> list[str] | None:
        """The slugs of what was chosen; where Sentry does not tell them, the ids."""
        chosen = visit.record.projects if visit.record.projects is not None else pending.projects
        if chosen is None:
            return None
        try:
            slugs = {each.id: each.slug for each in await self._flow.list_projects(visit, pending)}
        except ServiceError:
            slugs = {}
        return [slugs.get(each, each) for each in chosen]

    async def _confirm(self, turn: Turn) -> Response:
        pending = turn.received
        connection = await self._flow.confirm(turn.visit, pending, turn.form.get("seen", ""))
        await self._install.confirm(turn.visit.record, connection, pending)
        return self.after_end(await self._visits.reload(turn.visit), turn.view)

    async def _leave(self, turn: Turn) -> Response:
        await self._attempts.end(turn.visit.record)
        await self._visits.fail(turn.visit.record, LinkProblem.DENIED, forget=True)
        return self._pages.left(turn.visit, turn.view)

    async def _refuse(self, turn: Turn, action: str, problem: LinkProblem, details: str | None) -> Response:
        """Show the step again, with what did not work."""
        visit = await self._visits.reload(turn.visit)
        if problem not in _PASSING:
            try:
                await self._visits.fail(visit.record, problem, method=action)
            except SessionEnded:
                return self.after_end(await self._visits.reload(visit), turn.view)
        again = Turn(visit, turn.view, self._visits.open(visit.record), turn.cookies, turn.form)
        alert = self._renderer.alert(problem, visit.tenant_name, details, code=422)
        return await self.show(again, way="token" if action == "token" else None, alert=alert)
