/**
 * Lets a customer link a Sentry account from your page. It needs nothing else; load it from the service itself:
 *
 *   import { open } from "https://graph.example/link/sdk.js";
 *   button.onclick = async () => console.log(await open({ token, mode: "popup" })); // con_…
 *
 * `token` comes from your server, which gets it by the mutation `createLinkSession`; your page's origin has to be one
 * of the session's `allowedOrigins`. The options are described in sdk.d.ts.
 */

const LINK = new URL(".", import.meta.url); // https://graph.example/link/
const [FIRST_WAIT, LONGEST_WAIT] = [1000, 5000]; // milliseconds between two questions

const MESSAGES = {
  closed: "The window was closed before an account was linked.",
  blocked: "The browser blocked the window: call open() directly in a click.",
  denied: "The customer declined.",
  expired: "The link session has expired: make a new one.",
  error: "The service does not say how the link stands.",
};

/** Why no account was linked: `reason` is closed, blocked, denied, expired or error. */
export class LinkError extends Error {
  constructor(reason, problem = null) {
    super(MESSAGES[reason]);
    this.name = "LinkError";
    this.reason = reason;
    this.problem = problem;
  }
}

/** Opens the link page; resolves with the connection's id. */
export async function open({ token, url, mode = "popup", container, signal, graceSeconds = 60 }) {
  signal?.throwIfAborted();
  const start = findStart(token, url);
  if (mode === "redirect") {
    location.assign(start);
    return new Promise(() => {}); // this page ends here
  }
  const page = `${start}?${new URLSearchParams({ mode, origin: location.origin })}`;
  // Nothing was awaited so far: the browser takes this for a part of the click.
  const view = mode === "popup" ? openPopup(page) : mode === "iframe" ? addFrame(page, container) : null;
  if (!view) throw new TypeError("mode is popup, iframe or redirect");

  const over = new AbortController(); // ends every listener, timer and request
  const aborted = new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { signal: over.signal });
  });
  try {
    const asked = follow(`${start}/status`, view, graceSeconds * 1000, over.signal);
    return await Promise.race([hear(view, over.signal), asked, aborted]);
  } finally {
    over.abort();
    view.close();
  }
}

/** The page's address: always on the service that this file came from. */
function findStart(token, url) {
  const start = new URL("start/", LINK).href;
  if (url !== undefined) token = String(url).startsWith(start) ? String(url).slice(start.length) : "";
  if (!/^[\w-]+$/.test(token ?? "")) throw new TypeError(`give a token, or a url that begins with ${start}`);
  return start + token;
}

function openPopup(page) {
  const popup = window.open(page, "sentry-graph-link", "popup,width=560,height=760");
  if (!popup || popup.closed) throw new LinkError("blocked");
  return { window: popup, isPopup: true, isClosed: () => popup.closed, close: () => popup.close() };
}

function addFrame(page, container) {
  if (!(container instanceof Element)) throw new TypeError("mode iframe needs a container: an element of your page");
  const frame = document.createElement("iframe");
  frame.title = "Link a Sentry account";
  frame.allow = ""; // none of the browser's powers
  frame.sandbox = "allow-scripts allow-forms allow-same-origin allow-popups allow-popups-to-escape-sandbox";
  frame.style.cssText = "display: block; width: 100%; height: 480px; border: 0";
  frame.src = page;
  container.append(frame);
  return {
    window: frame.contentWindow,
    isClosed: () => !frame.isConnected,
    close: () => frame.remove(),
    resize: (height) => (frame.style.height = `${height}px`),
  };
}

/** What the link page says. Nobody else is listened to. */
function hear(view, signal) {
  return new Promise((resolve, reject) => {
    const take = ({ origin, source, data }) => {
      if (origin !== LINK.origin || source !== view.window || data?.type !== "sentry-graph:link") return;
      if (data.height > 0) return view.resize?.(data.height);
      view.isAway = data.status === "away"; // leaving for Sentry; any later word shows that it came back
      view.hasFailed = data.status === "error"; // the page may still help the customer
      try {
        if (isOver(data)) resolve(data.connectionId);
      } catch (error) {
        reject(error);
      }
    };
    window.addEventListener("message", take, { signal });
  });
}

/**
 * What the service says. Messages are quicker, but Sentry's pages may cut the popup off from this one (their
 * Cross-Origin-Opener-Policy): it then seems closed while the customer is still in it.
 */
async function follow(url, view, grace, signal) {
  let [wait, last, since, answered, isCutOff] = [FIRST_WAIT, "", 0, Date.now(), false];
  while (!signal.aborted) {
    await pause(wait, signal);
    wait = Math.min(wait * 1.3, LONGEST_WAIT);
    const isClosed = view.isClosed(); // before asking: what closes by itself is finished by then
    const state = await ask(url, signal).catch(() => null);
    const now = Date.now();
    if (state) {
      if (isOver(state)) return state.connectionId;
      answered = now;
    } else {
      if (now - answered > grace) throw new LinkError("error");
      continue;
    }

    const { status, problem } = state;
    if (last !== (last = `${status} ${isClosed}`)) [since, wait] = [now, FIRST_WAIT];
    isCutOff ||= isClosed && view.isPopup && (status === "away" || view.isAway);
    // A window that came back from Sentry, cut off, is waited for longer: the customer is choosing in it.
    const patience = !isCutOff ? 0 : status === "away" || problem ? grace : 10 * grace;
    if (isClosed && now - since >= patience) {
      throw new LinkError(problem === "denied" ? "denied" : view.hasFailed ? "error" : "closed", problem);
    }
  }
}

/** Whether the account is linked. Throws where it never will be. */
function isOver({ status, problem }) {
  if (status === "canceled" || status === "denied") throw new LinkError("denied", problem);
  if (status === "expired") throw new LinkError("expired", problem);
  return status === "completed";
}

async function ask(url, signal) {
  const answer = await fetch(url, { signal, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" });
  if (answer.status === 404 || answer.status === 410) return { status: "expired" };
  return answer.ok ? answer.json() : null;
}

/** Waits, but no longer than until the customer comes back to this page. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const listening = new AbortController();
    const end = () => (clearTimeout(timer), listening.abort(), resolve());
    const timer = setTimeout(end, milliseconds);
    window.addEventListener("focus", end, { signal: listening.signal });
    signal.addEventListener("abort", end, { signal: listening.signal });
  });
}
