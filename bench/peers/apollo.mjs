// Apollo Server's standalone server: `node apollo.mjs PORT`.
import { ApolloServer } from "@apollo/server";
import { ApolloServerPluginInlineTraceDisabled } from "@apollo/server/plugin/disabled";
import { startStandaloneServer } from "@apollo/server/standalone";

import { schema } from "./schema.mjs";
import { makeContext } from "./sentry.mjs";

const server = new ApolloServer({ schema, plugins: [ApolloServerPluginInlineTraceDisabled()] });
await startStandaloneServer(server, {
  context: async () => makeContext(),
  listen: { host: "127.0.0.1", port: Number(process.argv[2]) },
});
