// The last requests of Try it, which this browser remembers. Never a token: what may be one is left out before anything
// is stored. Not for: what keygate itself records.

import { store, stored } from '../store.js';

/**
 * What a person wrote.
 * @typedef {object} Draft
 * @property {{id: string, name: string} | null} key
 * @property {string} method
 * @property {string} path
 * @property {string} headers  one a line
 * @property {string} body
 */

/** @typedef {{draft: Draft, status: number, request_id: string, at: string}} Entry */

const NAME = 'keygate.try';
const KEPT = 10;
const BODY_CHARACTERS_MAX = 4_000;
/** Names that hold secrets more often than not. */
const SECRET_NAME = /auth|token|secret|cookie|api-?_?key|password|session/i;
/** keygate's own tokens, wherever they stand. */
const TOKEN = /kg_[A-Za-z0-9_-]{8,}/g;

/**
 * `Name: value` lines as pairs; the first line that is none is what is wrong.
 * @param {string} text
 * @returns {{pairs: [string, string][], wrong: string | null}}
 */
export function headerPairs(text) {
  /** @type {[string, string][]} */
  const pairs = [];
  let wrong = null;
  text.split('\n').forEach((line, place) => {
    if (!line.trim()) return;
    const colon = line.indexOf(':');
    if (colon > 0) pairs.push([line.slice(0, colon).trim(), line.slice(colon + 1).trim()]);
    else wrong ??= `Line ${place + 1} has no colon: write name: value`;
  });
  return { pairs, wrong };
}

/** @returns {Entry[]} */
export function remembered() {
  try {
    const entries = JSON.parse(stored(NAME) ?? '[]');
    if (!Array.isArray(entries)) return [];
    return entries.filter((entry) => typeof entry?.draft?.path === 'string').slice(0, KEPT);
  } catch {
    return [];
  }
}

/**
 * Puts a request in front of the others.
 * @param {Draft} draft
 * @param {{status: number, request_id: string}} answer
 * @param {string | null} [source]  the name of the header, query parameter or cookie that holds tokens here
 */
export function remember(draft, { status, request_id }, source) {
  const entry = { draft: withoutSecrets(draft, source ?? ''), status, request_id, at: new Date().toISOString() };
  const entries = [entry, ...remembered()].slice(0, KEPT);
  store(NAME, JSON.stringify(entries));
  return entries;
}

/** @param {Draft} draft @param {string} source @returns {Draft} */
function withoutSecrets({ key, method, path, headers, body }, source) {
  const secret = (/** @type {string} */ name) => SECRET_NAME.test(name) || name.toLowerCase() === source.toLowerCase();
  const lines = headers.split('\n').filter((line) => !secret(line.split(':')[0].trim()));
  const [before, query] = path.split(/\?(.*)/s);
  const kept = query?.split('&').filter((pair) => !secret(pair.split('=')[0]));
  return {
    key: key && { id: key.id, name: key.name },
    method,
    path: hidden(before + (kept?.length ? `?${kept.join('&')}` : '')),
    headers: hidden(lines.join('\n')),
    body: hidden(body).slice(0, BODY_CHARACTERS_MAX),
  };
}

/** @param {string} text */
const hidden = (text) => text.replace(TOKEN, '…');
