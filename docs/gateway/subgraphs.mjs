// Two subgraphs of ours, as small as they can be: who our customers are, and who is on call.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { buildSubgraphSchema } from "@apollo/subgraph";
import { parse } from "graphql";
import { createYoga } from "graphql-yoga";

const CUSTOMERS = [
  { id: "customer:1", name: "Lumen Labs", plan: "BUSINESS", sentry: "sandbox" },
  { id: "customer:2", name: "Corner Bakery", plan: "FREE", sentry: null }, // has not linked an account yet
];

const SHIFTS = {
  sandbox: [
    { email: "gita.iverson.0@lumen-labs.example", day: "Monday", role: "primary" },
    { email: "theo.pryce.2@lumen-labs.example", day: "Tuesday", role: "secondary" },
  ],
};

const findCustomer = (id) => CUSTOMERS.find((customer) => customer.id === id);

const customers = {
  Query: {
    node: (_, { id }) => findCustomer(id),
    customers: (_, { first, after }) => {
      const start = after ? Number(after) : 0;
      const page = CUSTOMERS.slice(start, start + first);
      const cursors = page.map((_, index) => String(start + index + 1));
      return {
        edges: page.map((node, index) => ({ node, cursor: cursors[index] })),
        pageInfo: {
          hasNextPage: start + first < CUSTOMERS.length,
          hasPreviousPage: start > 0,
          startCursor: cursors.at(0),
          endCursor: cursors.at(-1),
        },
      };
    },
  },
  Node: { __resolveType: () => "Customer" },
  Customer: {
    __resolveReference: ({ id }) => findCustomer(id),
    // A reference: the gateway asks the Sentry subgraph for the rest.
    sentry: ({ sentry }) => sentry && { externalId: sentry },
  },
  Connection: { customer: ({ externalId }) => CUSTOMERS.find((customer) => customer.sentry === externalId) },
  User: { profileUrl: ({ id }) => `https://app.example/people/${id}` },
};

const oncall = {
  Connection: {
    onCall: ({ id, externalId }) => (SHIFTS[externalId] ?? []).map(({ email }) => ({ connectionId: id, email })),
  },
  User: {
    onCallShift: ({ email }) =>
      Object.values(SHIFTS)
        .flat()
        .find((shift) => shift.email.toLowerCase() === email?.toLowerCase()),
  },
};

function serveSubgraph(name, resolvers) {
  const typeDefs = parse(readFileSync(new URL(`${name}.graphql`, import.meta.url), "utf8"));
  return createYoga({ schema: buildSubgraphSchema([{ typeDefs, resolvers }]), graphqlEndpoint: `/${name}`, graphiql: false });
}

const served = { "/customers": serveSubgraph("customers", customers), "/oncall": serveSubgraph("oncall", oncall) };

createServer((request, response) => {
  const yoga = served[request.url.split("?")[0]];
  if (yoga) yoga(request, response);
  else response.writeHead(404).end();
}).listen(Number(process.env.PORT), "127.0.0.1");
