// A key's state in a word, with what will soon change it.

import { classes, html } from '../lib.js';
import { absoluteTime, timeFrom } from './time.js';

const SOON_MS = 7 * 86_400_000;

/** @type {Record<string, [string, string]>} */
const WORDS = {
  active: ['active', 'ok'],
  disabled: ['disabled', 'muted hollow'],
  not_yet_valid: ['not yet valid', 'muted hollow'],
  expired: ['expired', 'bad'],
};

/** @param {{of: import('../types.js').Key, expiry?: boolean}} props  `expiry`: says also what is far off */
export function KeyStatus({ of: key, expiry = false }) {
  const [word, look] = WORDS[key.status] || [String(key.status), 'muted'];
  const left = key.expires_at ? Date.parse(key.expires_at) - Date.now() : Infinity;
  const soon = left < SOON_MS && key.status === 'active';
  const when = Number.isFinite(left) && left > 0 ? `expires ${timeFrom(Date.now() + left)}` : '';
  const title = key.expires_at ? absoluteTime(key.expires_at) : undefined;
  if (soon) return html`<span class="badge warn" title=${title}>${when}</span>`;
  return html`<span>
    <span class=${classes('badge', look)}>${word}</span>
    ${expiry && when && html`<span class="small muted expiry" title=${title}>${when}</span>`}
  </span>`;
}
