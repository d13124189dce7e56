// A key's state in a word, with what will soon change it.

import { classes, html } from '../lib.js';
import { timeFrom } from './time.js';

const SOON_MS = 7 * 86_400_000;

/** @type {Record<string, [string, string]>} */
const WORDS = {
  active: ['active', 'ok'],
  disabled: ['disabled', 'muted hollow'],
  not_yet_valid: ['not yet valid', 'muted hollow'],
  expired: ['expired', 'bad'],
};

/** @param {{of: import('../types.js').Key}} props */
export function KeyStatus({ of: key }) {
  const [word, look] = WORDS[key.status] || [String(key.status), 'muted'];
  const left = key.expires_at ? Date.parse(key.expires_at) - Date.now() : Infinity;
  if (key.status === 'active' && left < SOON_MS) {
    return html`<span class="badge warn">expires ${timeFrom(Date.now() + left)}</span>`;
  }
  return html`<span class=${classes('badge', look)}>${word}</span>`;
}
