/** Where the link page is shown. `redirect` leaves your page; the service sends the customer on to `redirectUri`. */
export type LinkMode = "popup" | "iframe" | "redirect";

/**
 * - `closed`: the customer closed the window, or you removed the iframe
 * - `blocked`: the browser let no popup open; call `open` directly in a click
 * - `denied`: the customer declined, on our page or in Sentry
 * - `expired`: the session has expired, or was never there
 * - `error`: the service does not answer, or does not answer this origin
 */
export type LinkErrorReason = "closed" | "blocked" | "denied" | "expired" | "error";

export declare class LinkError extends Error {
  readonly name: "LinkError";
  readonly reason: LinkErrorReason;
  /** What went wrong last on the page, as `LinkSession.problem` names it. */
  readonly problem: string | null;
}

interface CommonOptions {
  /** Abort to take everything away; `open` then rejects with the signal's reason. */
  signal?: AbortSignal;
  /** How long a popup that seems closed while the customer is at Sentry is waited for, and silence of the service. 60. */
  graceSeconds?: number;
}

/** One of both, of the same session: the token, or the whole address that `createLinkSession` gave. */
type Session = { token: string; url?: undefined } | { url: string; token?: undefined };

type View = { mode?: "popup" | "redirect"; container?: undefined } | { mode: "iframe"; container: Element };

/**
 * Opens the link page; resolves with the connection's id (`con_…`).
 *
 * Rejects with a {@link LinkError}, with the signal's reason, or with a `TypeError` for wrong options. With `redirect`
 * it never settles.
 */
export declare function open(options: Session & View & CommonOptions): Promise<string>;
