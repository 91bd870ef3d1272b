"""Comments on issues, which Sentry also calls notes."""

from datetime import timedelta

from service.sandbox import access
from service.sandbox.call import Call, Endpoint
from service.sandbox.endpoints.issues import find_issue
from service.sandbox.issue_shapes import show_comment
from service.sandbox.pagination import page_by_offset
from service.sandbox.responses import Answer, answer_json, invalid, no_content, not_found
from service.sandbox.structure import Comment, Issue, Organization


def list_comments(call: Call) -> Answer:
    """An issue's notes, the newest first."""
    issue, _ = find_issue(call)
    page = page_by_offset(issue.comments[::-1], call.page_size, call.cursor)
    return call.answer_page(page, [show_comment(comment, call.manner) for comment in page.items])


def add_comment(call: Call) -> Answer:
    """Adds a note: 201; the same again within an hour is refused, in JSON that was encoded twice."""
    issue, organization = find_issue(call)
    text = _read_text(call)
    lately = [c for c in issue.comments if c.created > call.world.now - timedelta(hours=1)]
    if any(c.user is call.user and c.text == text for c in lately):
        return answer_json('{"detail": "You have already posted that comment."}', 400)
    comment = Comment(call.world.new_id(), call.user, text, call.world.now)
    issue.comments.append(comment)
    call.world.changed()
    call.announcer.comment("created", comment, issue, organization, call.user)
    return answer_json(show_comment(comment, call.manner), 201)


def _read_text(call: Call) -> str:
    text = call.json().get("text")
    if not isinstance(text, str) or not text.strip():
        raise invalid(text="This field is required.")
    return text


def put_comment(call: Call) -> Answer:
    """Rewrites a note of one's own."""
    issue, organization, comment = _own_comment(call)
    comment.text = _read_text(call)
    call.world.changed()
    call.announcer.comment("updated", comment, issue, organization, call.user)
    return answer_json(show_comment(comment, call.manner))


def delete_comment(call: Call) -> Answer:
    """Removes a note of one's own: 204."""
    issue, organization, comment = _own_comment(call)
    issue.comments.remove(comment)
    call.world.changed()
    call.announcer.comment("deleted", comment, issue, organization, call.user)
    return no_content()


def _own_comment(call: Call) -> tuple[Issue, Organization, Comment]:
    issue, organization = find_issue(call)
    found = next((c for c in issue.comments if str(c.id) == call.names["comment"] and c.user is call.user), None)
    if found is None:
        raise not_found()
    return issue, organization, found


_COMMENTS = {"GET": list_comments, "POST": add_comment}
_COMMENT = {"PUT": put_comment, "DELETE": delete_comment}
_OF_ISSUE = "issues/{issue}/comments/"
_OF_ORGANIZATION = "organizations/{organization}/" + _OF_ISSUE

ENDPOINTS = (
    Endpoint(_OF_ORGANIZATION, _COMMENTS, access.EVENT),
    Endpoint(_OF_ISSUE, _COMMENTS, access.EVENT),
    Endpoint(_OF_ORGANIZATION + "{comment}/", _COMMENT, access.COMMENT),
    Endpoint(_OF_ISSUE + "{comment}/", _COMMENT, access.COMMENT),
)
