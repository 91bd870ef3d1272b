"""The pages around the steps: who asks, the end, and why there is nothing to do here."""

from collections.abc import Mapping

from starlette.responses import Response

from service.connections.link_models import LinkSessionStatus
from service.link.browser import USUAL_VIEW, Mode, View
from service.link.rendering import Renderer
from service.link.returning import build_return_url, find_host
from service.link.visits import Visit


class Pages:
    """Each is a whole answer."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._words = renderer.words

    def start(self, visit: Visit, view: View, *, token: str, is_here: bool) -> Response:
        """Who asks, and for whom."""
        record, is_again = visit.record, visit.linked is not None
        leave_url = build_return_url(record, "denied") if view.mode is Mode.REDIRECT else None
        return self._renderer.render(
            "start",
            self._words("start.title_again" if is_again else "start.title", tenant=visit.tenant_name),
            view,
            customer=visit.customer,
            linked=visit.linked,
            tenant=visit.tenant_name,
            profile=self._words(f"profiles.{record.profile}"),
            is_here=is_here,
            is_elsewhere=record.status is LinkSessionStatus.STARTED and not is_here,
            token=token,
            leave_url=leave_url,
            leave_host=find_host(leave_url) if leave_url else "",
            until=f"{record.expires_at:%d %B %Y, %H:%M} UTC",
            until_iso=record.expires_at.isoformat(timespec="seconds"),
        )

    def iframe(self, visit: Visit, view: View, *, token: str, status: str) -> Response:
        """What a page of the tenant embeds: it follows the session, and opens the steps in a window of their own."""
        start = f"{self._renderer.base}/link/start/{token}"
        return self._renderer.render(
            "iframe",
            self._words("iframe.title"),
            view,
            ancestors=visit.record.allowed_origins,
            data={"session": visit.record.id, "status-url": f"{start}/status"},
            tenant=visit.tenant_name,
            customer=visit.customer,
            open_url=f"{start}?mode={Mode.WINDOW}",
            status=status,
        )

    def away(self, view: View, url: str) -> Response:
        """On the way to Sentry."""
        return self._renderer.render("away", self._words("away.title"), view, going_url=url, going_host=find_host(url))

    def done(self, visit: Visit, view: View) -> Response:
        """Linked. In a page of its own the browser goes back where it came from."""
        connection = visit.connection
        name = connection.organization_name if connection else visit.customer or "Sentry"
        lines = [self._words("done.what", tenant=visit.tenant_name, organization=name)]
        data = {"session": visit.record.id, "connection": visit.record.connection_id, "status": "completed"}
        return self._end("done", self._words("done.title"), visit, view, lines, data=data, status="completed")

    def left(self, visit: Visit, view: View) -> Response:
        """Cancelled by the person; the invitation stands."""
        lines = [self._words("left.what")]
        data = {"session": visit.record.id, "status": "denied"}
        return self._end("left", self._words("left.title"), visit, view, lines, data=data, status="denied")

    def held(self, *, is_usable: bool) -> Response:
        """An installation that came without a session."""
        lines = [self._words("held.what"), self._words("held.next")] if is_usable else [self._words("held.unusable")]
        title = self._words("held.title")
        return self._renderer.render(
            "held", title, USUAL_VIEW, template="end", lines=lines, going_url=None, back_url=None
        )

    def problem(self, name: str, code: int, visit: Visit | None = None, view: View = USUAL_VIEW) -> Response:
        """Why there is nothing to do here. ``name`` is one of ``pages`` in the words."""
        tenant = visit.tenant_name if visit else ""
        lines = [self._words(f"pages.{name}.what", tenant=tenant), self._words(f"pages.{name}.next", tenant=tenant)]
        status = name if name in {"expired", "canceled", "completed"} else "error"
        back = build_return_url(visit.record, status) if visit and view.mode is Mode.REDIRECT else None
        data = {
            "status": status,
            "problem": name,
            "session": visit.record.id if visit else None,
            "connection": visit.record.connection_id if visit else None,
        }
        return self._renderer.render(
            "problem",
            self._words(f"pages.{name}.title"),
            view,
            template="end",
            code=code,
            ancestors=visit.record.allowed_origins if visit and view.mode is Mode.IFRAME else (),
            data=data,
            lines=lines,
            going_url=None,
            back_url=back,
            going_host=find_host(back) if back else "",
        )

    def _end(
        self,
        page: str,
        title: str,
        visit: Visit,
        view: View,
        lines: list[str],
        *,
        data: Mapping[str, str | None],
        status: str,
    ) -> Response:
        going = build_return_url(visit.record, status) if view.mode is Mode.REDIRECT else None
        if going is None:
            lines = [*lines, self._words("done.close")]
        host = find_host(going) if going else ""
        return self._renderer.render(
            page, title, view, template="end", data=data, lines=lines, going_url=going, back_url=going, going_host=host
        )
