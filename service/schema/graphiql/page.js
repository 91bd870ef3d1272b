"use strict";

const endpoint = location.pathname;
// Where GraphiQL's dialogs look for the nonce of the style element that they add.
window.__webpack_nonce__ = document.currentScript.nonce;

async function readJson(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

async function start() {
  const { tabs, demoKey } = await readJson("graphql/ui/settings.json");
  // The demo's key stays in memory: it is never written to a tab, where GraphiQL would store it.
  const key = demoKey
    ? (await readJson("graphql/demo-key", { method: "POST", headers: { "content-type": "application/json" } })).key
    : null;

  async function fetcher(params, options) {
    const headers = {
      accept: "application/graphql-response+json, application/json",
      "content-type": "application/json",
      ...(key ? { authorization: `Bearer ${key}` } : {}),
    };
    for (const [name, value] of Object.entries(options?.headers ?? {})) headers[name.toLowerCase()] = value;
    const response = await fetch(endpoint, { method: "POST", headers, body: JSON.stringify(params) });
    return response.json();
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
