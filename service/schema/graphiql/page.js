"use strict";

const endpoint = location.pathname;
// Where GraphiQL's dialogs look for the nonce of the style element that they add.
window.__webpack_nonce__ = document.currentScript.nonce;

async function readJson(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

// The results of a subscription as they come, for `for await`: GraphQL over server-sent events.
function readResults(response, connection) {
  const results = parseEvents(response.body.pipeThrough(new TextDecoderStream()).getReader());
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        return await results.next();
      } catch (error) {
        if (connection.signal.aborted) return { done: true, value: undefined };
        throw error;
      }
    },
    // What GraphiQL's stop button calls.
    async return() {
      connection.abort();
      return { done: true, value: undefined };
    },
  };
}

async function* parseEvents(reader) {
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The stream has ended: run the subscription again, `after` the last event's id.");
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      if (lines.includes("event: complete")) return;
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

async function start() {
  const { tabs, demoKey } = await readJson("graphql/ui/settings.json");
  // The demo's key stays in memory: it is never written to a tab, where GraphiQL would store it.
  const key = demoKey
    ? (await readJson("graphql/demo-key", { method: "POST", headers: { "content-type": "application/json" } })).key
    : null;

  async function fetcher(params, options) {
    const headers = {
      accept: "application/graphql-response+json, application/json, text/event-stream",
      "content-type": "application/json",
      ...(key ? { authorization: `Bearer ${key}` } : {}),
    };
    for (const [name, value] of Object.entries(options?.headers ?? {})) headers[name.toLowerCase()] = value;
    const connection = new AbortController();
    const request = { method: "POST", headers, body: JSON.stringify(params), signal: connection.signal };
    const response = await fetch(endpoint, request);
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
    return isStream ? readResults(response, connection) : response.json();
  }

  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  root.render(
    React.createElement(GraphiQL, {
      fetcher,
      defaultTabs: tabs,
      defaultEditorToolsVisibility: "variables",
      shouldPersistHeaders: false,
    }),
  );
}

start().catch((error) => {
  const note = document.createElement("p");
  note.className = "note";
  note.textContent = `GraphiQL could not start: ${error.message}`;
  document.getElementById("graphiql").replaceChildren(note);
});
