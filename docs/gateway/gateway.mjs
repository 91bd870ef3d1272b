// Composes the three subgraphs and serves them as one graph with Hive Gateway.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { createGatewayRuntime } from "@graphql-hive/gateway-runtime";
import { renderGraphiQL } from "@graphql-yoga/render-graphiql";
import { composeServices } from "@theguild/federation-composition";
import { parse } from "graphql";

const { PORT, SERVICE_URL, SERVICE_KEY, SUBGRAPHS_URL } = process.env;

const subgraphs = [
  { name: "sentry", url: `${SERVICE_URL}/graphql`, headers: { authorization: `Bearer ${SERVICE_KEY}` } },
  { name: "customers", url: `${SUBGRAPHS_URL}/customers` },
  { name: "oncall", url: `${SUBGRAPHS_URL}/oncall` },
];

// A subgraph prints itself. (In production, compose from files in your build and start the gateway with the result.)
async function fetchSdl({ name, url, headers }) {
  const body = JSON.stringify({ query: "{ _service { sdl } }" });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });
  const { data, errors } = await response.json();
  if (errors) throw new Error(`${name}: ${errors[0].message}`);
  return { name, url, typeDefs: parse(data._service.sdl) };
}

const { supergraphSdl, errors } = composeServices(await Promise.all(subgraphs.map(fetchSdl)));
if (errors) throw new Error(errors.map((error) => error.message).join("\n"));

const gateway = createGatewayRuntime({
  supergraph: supergraphSdl,
  // The caller's own key goes to the Sentry subgraph and to no other: each sees what its key may see.
  propagateHeaders: {
    fromClientToSubgraphs({ request, subgraphName }) {
      const authorization = request.headers.get("authorization");
      return subgraphName === "sentry" && authorization ? { authorization } : {};
    },
  },
  // @cost and @listSize of the subgraphs, added up before anything runs.
  demandControl: { maxCost: 20_000 },
  graphiql: { title: "Supergraph", defaultQuery: readFileSync(new URL("query.graphql", import.meta.url), "utf8") },
  renderGraphiQL, // bundled: the stock page loads from a CDN
  landingPage: false,
  logging: "warn",
});

const server = createServer(gateway).listen(Number(PORT), "127.0.0.1");

// The gateway listens to these too, and then Node no longer ends by itself.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => server.close(() => process.exit(0)));
