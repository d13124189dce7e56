// What became of a request, in words: decisions and reasons as the transaction log names them, and the badges
// that show them. A word that is new here is shown as it came. Not for: the record as a whole, which is
// `views/transaction.js`.

import { html } from '../lib.js';

/** @typedef {'ok' | 'bad' | 'warn' | 'muted'} Tone */

/** @type {Record<string, [string, Tone]>} */
const DECISIONS = {
  allowed: ['Allowed', 'ok'],
  refused: ['Refused', 'bad'],
  would_refuse: ['Would be refused', 'warn'],
  public: ['Public', 'muted'],
  anonymous: ['Anonymous', 'muted'],
};

/** The decisions, as choices. @type {[string, string][]} */
export const DECISION_CHOICES = Object.entries(DECISIONS).map(([name, [text]]) => [name, text]);

/** @type {Record<string, string>} */
const REASONS = {
  missing_key: 'no key sent',
  unknown_key: 'unknown key',
  malformed_key: 'malformed key',
  duplicate_key: 'key sent twice',
  conflicting_keys: 'different keys sent',
  disabled: 'key disabled',
  expired: 'key expired',
  not_yet_valid: 'key not yet valid',
  method_not_allowed: 'method not allowed',
  path_not_allowed: 'path not allowed',
  network_not_allowed: 'network not allowed',
  bad_request: 'bad request',
  method_not_supported: 'method not supported',
  head_too_large: 'head too large',
  body_too_large: 'body too large',
  request_timeout: 'request too slow',
  unavailable: 'keygate not available',
  upstream_failed: 'upstream failed',
  upstream_timeout: 'upstream too slow',
};

/** The reasons, as choices. */
export const REASON_CHOICES = Object.entries(REASONS);

/** @param {string} name */
export const plain = (name) => name.replaceAll('_', ' ');

/** @param {string} name */
export const decisionText = (name) => DECISIONS[name]?.[0] ?? plain(name);

/** @param {string} name */
export const reasonText = (name) => REASONS[name] ?? plain(name);

/** @param {{decision: string}} props */
export const Decision = ({ decision }) => html`
  <span class="badge ${DECISIONS[decision]?.[1] ?? 'muted'}">${decisionText(decision)}</span>
`;

/** An HTTP status; without one there was no answer. @param {{status?: number}} props */
export const StatusCode = ({ status }) => html`
  <span class=${statusTone(status)} title=${status ? undefined : 'No answer was sent'}>${status ?? '–'}</span>
`;

/** @param {number | undefined} status @returns {Tone} */
function statusTone(status) {
  if (!status || status >= 500) return 'bad';
  if (status >= 400) return 'warn';
  return status >= 300 ? 'muted' : 'ok';
}
