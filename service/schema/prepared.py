"""The queries that GraphiQL opens with. None needs an id to be filled in first."""

from service.schema.graphiql.page import PreparedQuery

PREPARED = (
    PreparedQuery(
        """# The users of all linked Sentry accounts, as one list.
# Press the play button to run it.
query Users {
  users(first: 10) {
    edges {
      node {
        id
        name
        email
        status
        roles { name }
        groups { name }
        lastActiveAt
      }
    }
    pageInfo { hasNextPage endCursor }
    failures { connectionId code message cure }
  }
}
"""
    ),
    PreparedQuery(
        """# Anything in Sentry: its API, one to one,
# with the connection's own credential.
query Issues {
  connections(first: 1) {
    nodes {
      name
      organization { slug }
      proxy(
        path: "organizations/{organization}/issues/"
        query: [{ name: "project", value: "-1" }]
        first: 5
      ) {
        statusCode
        resultCount
        totalCount
        result
        pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""
    ),
    PreparedQuery(
        """# The linked accounts, and what their tokens do not reach.
query Connections {
  connections {
    totalCount
    nodes {
      id
      externalId
      name
      status
      origin
      organization { slug name }
      authentication
      scopes
      missingScopes { feature anyOf }
      rateLimit { limit remaining resetAt }
      createdAt
    }
  }
}
"""
    ),
    PreparedQuery(
        """# The latest of what happened: in Sentry, as its webhooks tell,
# and to the linked accounts.
query Events {
  events(last: 20) {
    nodes {
      __typename
      type
      at
      synthetic
      url
      actor { kind name user { email } }
      ... on IssueEvent { issue { shortId title status } }
      ... on IssueAssignedEvent { assignee { kind name } }
      ... on CommentEvent { text }
      ... on ConnectionEvent { reason }
      connection { name }
    }
    pageInfo { hasPreviousPage startCursor }
  }
}
"""
    ),
    PreparedQuery(
        """# The same as it happens. Press the play button, then resolve
# an issue in Sentry, say; press it again to stop.
subscription Watch {
  events {
    type
    at
    connection { name }
    actor { name }
    ... on IssueEvent {
      issue { shortId title status url }
    }
    id
  }
}
"""
    ),
    PreparedQuery(
        """# Link a Sentry account: put its token into the variables.
# Where it reaches several organizations, the error names them:
# choose by `organization`.
mutation Link($token: String!) {
  linkConnection(
    input: {
      token: $token
      origin: "https://sentry.io"
      externalId: "my-first-customer"
    }
  ) {
    id
    name
    organization { slug }
    missingScopes { feature anyOf }
  }
}
""",
        variables={"token": "sntryu_…"},
    ),
)
