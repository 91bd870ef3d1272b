// The link page works without this file, but for the popup and the iframe. It adds what only a script can do.
"use strict";

const page = document.getElementById("link");
const { mode, origin, status, problem, connection, statusUrl } = page.dataset;

const ENDS = ["completed", "expired", "canceled"];

tell({ status: page.dataset.page === "away" ? "away" : status, problem, connectionId: connection });
if (mode === "iframe") embed();
else if (status === "completed" && mode !== "redirect") window.close();

document.addEventListener("submit", sendOnce);
window.addEventListener("pageshow", (event) => event.persisted && all("form[data-once]").forEach(allowAgain));
all("[data-reveal]").forEach(reveal);
all("[data-filter-list]").forEach(filter);
document.addEventListener("change", showWhatApplies);
showWhatApplies();
document.querySelector("[data-focus]")?.focus();

function all(selector, within = document) {
  return [...within.querySelectorAll(selector)];
}

/** Tell the page that opened or holds this one, and no other. */
function tell(news) {
  const host = mode === "popup" ? window.opener : mode === "iframe" ? window.parent : null;
  if (host && origin) host.postMessage({ type: "sentry-graph:link", ...news }, origin);
}

/** In a frame: the steps are taken in a window of our own, where the cookie is; this page follows them. */
function embed() {
  new ResizeObserver(() => tell({ height: Math.ceil(page.parentElement.getBoundingClientRect().height) })).observe(page);
  const link = document.getElementById("open");
  const again = document.getElementById("reopen");
  let steps = null;
  const open = (event) => {
    if (steps && !steps.closed) steps.focus();
    else steps = window.open(link.href, "sentry-graph-link-window", "popup,width=560,height=760");
    if (!steps) return; // the browser follows the link by itself
    event.preventDefault();
    [link.hidden, again.hidden] = [true, false];
  };
  link?.addEventListener("click", open);
  again?.addEventListener("click", open);
  if (statusUrl) follow();
}

/** Ask how the session stands, until it ends. */
async function follow() {
  let [wait, last, failures] = [1000, null, 0];
  while (!ENDS.includes(last)) {
    const state = await ask();
    failures = state ? 0 : failures + 1;
    if (state && state.status !== last) {
      [wait, last] = [1000, state.status];
      tell(state);
      if (ENDS.includes(last)) for (const way of all("#open, #reopen")) way.hidden = true;
    }
    const word = failures < 3 ? last : "lost";
    for (const part of all("[data-when]")) part.hidden = part.dataset.when !== word;
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 1.3, 5000);
  }
}

async function ask() {
  try {
    const answer = await fetch(statusUrl, { cache: "no-store" });
    return answer.ok ? await answer.json() : answer.status === 404 ? { status: "expired" } : null;
  } catch {
    return null;
  }
}

/** A form is sent once, however often its button is pressed. The button stays enabled: its value has to be sent. */
function sendOnce(event) {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  const button = event.submitter ?? form.querySelector("[type=submit]");
  button.setAttribute("aria-disabled", "true");
  if (button.dataset.busy) [button.dataset.idle, button.textContent] = [button.textContent, button.dataset.busy];
}

/** Back showed the page as it was left: its forms may be sent again. */
function allowAgain(form) {
  delete form.dataset.sent;
  for (const button of all("[aria-disabled]", form)) {
    button.removeAttribute("aria-disabled");
    if (button.dataset.idle) button.textContent = button.dataset.idle;
  }
}

function reveal(button) {
  const field = document.getElementById(button.dataset.reveal);
  const words = [button.textContent, button.dataset.hide];
  button.hidden = false;
  button.addEventListener("click", () => {
    const isShown = field.type === "password";
    field.type = isShown ? "text" : "password";
    button.textContent = words[Number(isShown)];
    button.setAttribute("aria-pressed", String(isShown));
  });
}

/** A box that narrows a long list. */
function filter(list) {
  const items = all("[data-filter-item]", list);
  const box = list.querySelector("[data-filter-box]");
  if (!box || items.length < 8) return;
  const count = box.querySelector("[data-filter-count]");
  box.hidden = false;
  box.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(wanted);
    const shown = items.filter((item) => !item.hidden).length;
    count.textContent = count.dataset.template.replace("{shown}", shown).replace("{total}", items.length);
  });
}

/** Hide what the choices above it make pointless. */
function showWhatApplies() {
  const sentry = document.querySelector("input[name=origin]:checked")?.value;
  if (sentry) for (const part of all("[data-help]")) part.hidden = (part.dataset.help === "other") !== (sentry === "other");
  const some = document.getElementById("some");
  const choice = document.querySelector("input[name=choice]:checked")?.value;
  if (some && choice) some.hidden = choice !== "some";
}
