// Reads [{name, sdl}] and prints {composer: {errors: [message], supergraph: SDL or null}}.
import { text } from "node:stream/consumers";

import { composeServices as composeByApollo } from "@apollo/composition";
import { composeServices as composeByTheGuild } from "@theguild/federation-composition";
import { federateSubgraphs } from "@wundergraph/composition";
import { parse, printSchema } from "graphql";

const subgraphs = JSON.parse(await text(process.stdin)).map(({ name, sdl }) => ({
  name,
  url: `http://${name}.test/graphql`,
  document: parse(sdl),
}));

const services = subgraphs.map(({ name, url, document }) => ({ name, url, typeDefs: document }));

function composeByWunderGraph() {
  const result = federateSubgraphs({
    subgraphs: subgraphs.map(({ name, url, document }) => ({ name, url, definitions: document })),
    version: "1",
  });
  return { errors: result.errors, supergraphSdl: result.success ? printSchema(result.federatedGraphSchema) : null };
}

const composers = {
  "@apollo/composition": () => composeByApollo(services),
  "@theguild/federation-composition": () => composeByTheGuild(services),
  "@wundergraph/composition": composeByWunderGraph,
};

const results = {};
for (const [name, compose] of Object.entries(composers)) {
  const { errors, supergraphSdl } = compose();
  results[name] = { errors: (errors ?? []).map((error) => error.message), supergraph: supergraphSdl ?? null };
}
console.log(JSON.stringify(results));
