// The graph of the two peers on Node, as a subgraph; resolvers return plain objects, so that fields need none.
import { buildSubgraphSchema } from "@apollo/subgraph";
import { GraphQLScalarType, parse } from "graphql";

const typeDefs = parse(`
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])

  scalar JSON
  scalar DateTime

  type Query {
    connections(first: Int = 50, filter: ConnectionFilter): ConnectionConnection!
    users(connectionIds: [ID!]!, first: Int = 50): UserConnection!
    proxy(connectionId: ID!, path: String!): Proxy!
  }

  input ConnectionFilter { customerId: String }
  type ConnectionConnection { nodes: [Connection!]! }
  type Connection { id: ID! name: String! users(first: Int = 50): UserConnection! }
  type UserConnection { edges: [UserEdge!]! nodes: [User!]! pageInfo: PageInfo! }
  type UserEdge { node: User! cursor: String! }
  type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type Role { id: ID! externalId: String! name: String! group: String organization: ID! }
  type Group { id: ID! externalId: String! slug: String! name: String! }
  type Proxy { statusCode: Int! result: JSON! }
  enum UserStatus { ACTIVE INVITED EXPIRED RESTRICTED }

  type User @key(fields: "id") {
    id: ID!
    connectionId: ID!
    externalId: String
    sentryMemberId: String!
    name: String
    firstName: String
    lastName: String
    username: String
    email: String
    title: String
    status: UserStatus!
    isEmailVerified: Boolean
    isTwoFactorEnabled: Boolean
    avatarUrl: String
    roles: [Role!]!
    createdAt: DateTime
    lastLoginAt: DateTime
    lastActiveAt: DateTime
    groups: [Group!]!
    remoteDetail: JSON!
  }
`);

const asItIs = (name) => new GraphQLScalarType({ name, serialize: (value) => value });

const resolvers = {
  JSON: asItIs("JSON"),
  DateTime: asItIs("DateTime"),
  Query: {
    connections: (_, { first, filter }, { sentry }) => ({
      nodes: sentry.connections(filter?.customerId).slice(0, first),
    }),
    users: (_, { connectionIds, first }, context) => listUsers(context, connectionIds, first),
    proxy: (_, { connectionId, path }, { sentry }) => sentry.proxy(connectionId, path),
  },
  Connection: {
    users: ({ id }, { first }, context) => listUsers(context, [id], first),
  },
  User: {
    __resolveReference: ({ id }, { loaders }) => loaders.users.load(id),
    groups: (user, _, { loaders }) => loaders.groups.load(user),
    remoteDetail: (user, _, { loaders }) => loaders.details.load(user),
  },
};

async function listUsers({ loaders }, connectionIds, first) {
  const pages = await loaders.pages.loadMany(connectionIds);
  for (const page of pages) if (page instanceof Error) throw page;
  const all = pages.flatMap((page) => page.users);
  const nodes = all.slice(0, first);
  const edges = nodes.map((node, index) => ({
    node,
    cursor: Buffer.from(`${node.connectionId}:${index}`).toString("base64"),
  }));
  return {
    edges,
    nodes,
    pageInfo: {
      hasNextPage: all.length > first || pages.some((page) => page.hasNext),
      hasPreviousPage: false,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

export const schema = buildSubgraphSchema([{ typeDefs, resolvers }]);
