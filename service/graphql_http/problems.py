"""What can be wrong with a GraphQL request before anything runs."""

from collections.abc import Sequence

from graphql import GraphQLError

from service.errors import BadInput, ServiceError


class MalformedRequest(BadInput):
    """The request's body or parameters are not a GraphQL request."""

    code = "BAD_REQUEST"


class UnsupportedMediaType(BadInput):
    """The body is of a type that is not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    cure = "Send JSON in UTF-8, uncompressed, with `Content-Type: application/json`."


class NotAcceptable(BadInput):
    """The client takes none of the types that answers come in."""

    code = "NOT_ACCEPTABLE"
    status = 406
    cure = "Send `Accept: application/graphql-response+json`, or `Accept: text/event-stream` to subscribe."


class MethodNotAllowed(BadInput):
    """The HTTP method cannot do this."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class CrossSite(BadInput):
    """A browser sent this on behalf of a page that is not ours and not on the allow-list."""

    code = "CROSS_SITE_REFUSED"
    status = 403


class RequestTimeout(BadInput):
    """The request's body did not arrive in time."""

    code = "REQUEST_TIMEOUT"
    status = 408
    retryable = True


class IntrospectionDisabled(BadInput):
    """``__schema`` or ``__type`` was asked for where introspection is off."""

    code = "INTROSPECTION_DISABLED"
    cure = "Read the schema from schema.graphql, or have the operator set SENTRY_GRAPH_INTROSPECTION=true."


class SubscriptionsOff(BadInput):
    """A subscription where none are offered."""

    code = "SUBSCRIPTIONS_OFF"
    cure = "Read lists again now and then, or have the operator set SENTRY_GRAPH_SUBSCRIPTIONS."


class ServiceStops(ServiceError):
    """The process is about to stop, and long connections end: another process goes on."""

    code = "SERVICE_STOPS"
    status = 503
    retryable = True
    cure = "Connect again."


class OperationNotFound(BadInput):
    """The document has no operation of that name, or several and no name was given."""

    code = "OPERATION_RESOLUTION_FAILED"


class PersistedQueryNotFound(BadInput):
    """The hash of an automatic persisted query is not known (yet); clients then send it again with the query."""

    code = "PERSISTED_QUERY_NOT_FOUND"
    cure = "Send the query along with its hash once."


class PersistedQueryOnly(BadInput):
    """Only trusted documents run here, and this is none."""

    code = "PERSISTED_QUERY_ONLY"
    status = 403
    cure = "Send the `documentId` of a trusted document, or have the operator add this one to the file."


class InvalidDocument(BadInput):
    """The document does not parse or does not fit the schema; ``errors`` says where."""

    code = "GRAPHQL_VALIDATION_FAILED"
    cure = "Fix the document; schema.graphql lists what may be asked."

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = tuple(errors)


class UnparsableDocument(InvalidDocument):
    """The document is not GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"
    cure = "Fix the syntax at the given location."


class InvalidVariables(InvalidDocument):
    """The variables do not fit the operation's; nothing has run."""

    code = "BAD_USER_INPUT"
    cure = "Fix the variables; schema.graphql lists their types."


class OperationRefused(Exception):
    """A well-formed request for an operation that cannot run, for the reason in ``problem``.

    GraphQL over HTTP answers these with other statuses than requests that are not well-formed.
    """

    def __init__(self, problem: ServiceError) -> None:
        super().__init__(problem.message)
        self.problem = problem
