// The fields of a key, for making and for editing one: texts as a person types them on one side, what the API takes
// on the other. Not for: sending it.

import { html } from '../lib.js';
import { Field } from '../parts/field.js';

/**
 * @typedef {object} Draft  all as typed
 * @property {string} name
 * @property {string} description
 * @property {string} expires  empty: never; a number of days; or `at`
 * @property {string} expiresAt  of a `datetime-local` input
 * @property {string} methods
 * @property {string} paths
 * @property {string} networks
 * @property {string} tags
 * @property {string} token
 */

/** What pointers of the API call the fields. */
const FOLDED = ['expires_at', 'allow/methods', 'allow/paths', 'allow/networks', 'tags', 'token'];
export const FIELDS = ['name', 'description', ...FOLDED];

/** @type {[string, string][]} */
const EXPIRIES = [
  ['', 'Never'],
  ['7', 'In 7 days'],
  ['30', 'In 30 days'],
  ['90', 'In 90 days'],
  ['365', 'In a year'],
  ['at', 'At a date'],
];

/** @param {Partial<import('../types.js').Key>} [key] @returns {Draft} */
export function draftOf(key = {}) {
  const lines = (/** @type {string[] | undefined} */ list) => (list || []).join('\n');
  return {
    name: key.name || '',
    description: key.description || '',
    expires: key.expires_at ? 'at' : '',
    expiresAt: key.expires_at ? localInput(new Date(key.expires_at)) : '',
    methods: (key.allow?.methods || []).join(', '),
    paths: lines(key.allow?.paths),
    networks: lines(key.allow?.networks),
    tags: lines(Object.entries(key.tags || {}).map(([name, value]) => `${name}=${value}`)),
    token: '',
  };
}

/** `2026-11-23T10:00`, in local time. @param {Date} date */
function localInput(date) {
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}

/** @param {string} text */
const listed = (text) => text.split(/[\s,]+/).filter(Boolean);

/** @param {Draft} draft @returns {string | null} */
function expiry({ expires, expiresAt }) {
  if (!expires) return null;
  if (expires !== 'at') return new Date(Date.now() + Number(expires) * 86_400_000).toISOString();
  const date = new Date(expiresAt);
  return Number.isNaN(date.getTime()) ? expiresAt : date.toISOString();
}

/** @param {string} text */
function tagsOf(text) {
  const lines = text.split('\n').filter((line) => line.trim());
  return Object.fromEntries(
    lines.map((line) => {
      const [name, ...value] = line.split('=');
      return [name.trim(), value.join('=').trim()];
    }),
  );
}

/** @param {Draft} draft */
function allowOf(draft) {
  /** @type {[string, string[]][]} */
  const lists = [
    ['methods', listed(draft.methods.toUpperCase())],
    ['paths', listed(draft.paths)],
    ['networks', listed(draft.networks)],
  ];
  const set = lists.filter(([, list]) => list.length > 0);
  return set.length ? Object.fromEntries(set) : null;
}

/** The body that makes the key; what was left empty is left out. @param {Draft} draft */
export function newKey(draft) {
  /** @type {Record<string, unknown>} */
  const body = { name: draft.name.trim() };
  if (draft.description.trim()) body.description = draft.description.trim();
  if (draft.expires) body.expires_at = expiry(draft);
  const allow = allowOf(draft);
  if (allow) body.allow = allow;
  const tags = tagsOf(draft.tags);
  if (Object.keys(tags).length) body.tags = tags;
  if (draft.token.trim()) body.token = draft.token.trim();
  return body;
}

/**
 * The merge-patch from one draft to another: what was not touched is not sent.
 * @param {Draft} before @param {Draft} after
 */
export function patchOf(before, after) {
  /** @type {Record<string, any>} */
  const patch = {};
  if (after.name !== before.name) patch.name = after.name.trim();
  if (after.description !== before.description) patch.description = after.description.trim() || null;
  if (after.expires !== before.expires || after.expiresAt !== before.expiresAt) patch.expires_at = expiry(after);
  if (after.tags !== before.tags) patch.tags = replaced(tagsOf(before.tags), tagsOf(after.tags));
  if (after.methods !== before.methods || after.paths !== before.paths || after.networks !== before.networks) {
    const allow = allowOf(after);
    patch.allow = allow && replaced(allowOf(before) || {}, allow);
  }
  return patch;
}

/**
 * In a merge-patch, what is gone has to be said.
 * @param {Record<string, unknown>} before @param {Record<string, unknown>} after
 */
function replaced(before, after) {
  const gone = Object.keys(before).map((name) => [name, null]);
  return { ...Object.fromEntries(gone), ...after };
}

/**
 * @param {{draft: Draft, onDraft: (draft: Draft) => void, errors: Record<string, string>, ownToken?: boolean}} props
 */
export function KeyFields({ draft, onDraft, errors, ownToken = false }) {
  /** @param {keyof Draft} name */
  const bind = (name) => ({
    value: draft[name],
    onValue: (/** @type {string} */ value) => onDraft({ ...draft, [name]: value }),
  });
  const unfolded = FOLDED.some((field) => errors[field]);
  return html`<div class="form">
    <${Field}
      label="Name" ...${bind('name')} error=${errors.name} autofocus maxlength="100" required aria-required="true"
    />
    <${Field} label="Description" ...${bind('description')} error=${errors.description} optional multiline />
    <details open=${unfolded || undefined}>
      <summary>More options</summary>
      <div class="form">
        <div class="pair">
          <${Field}
            label="Expires" ...${bind('expires')} options=${EXPIRIES}
            error=${draft.expires === 'at' ? undefined : errors.expires_at}
          />
          ${draft.expires === 'at' && html`<${Field}
            label="Expires at" type="datetime-local" ...${bind('expiresAt')} error=${errors.expires_at}
          />`}
        </div>
        <${Field}
          label="Allowed paths" ...${bind('paths')} multiline placeholder="all" error=${errors['allow/paths']}
          hint=${html`One a line, such as <code>/v1/**</code> or <code>/health</code>.`}
        />
        <div class="pair">
          <${Field}
            label="Allowed methods" ...${bind('methods')} placeholder="all" error=${errors['allow/methods']}
            hint=${html`Such as <code>GET, HEAD</code>.`}
          />
          <${Field}
            label="Allowed networks" ...${bind('networks')} placeholder="all" error=${errors['allow/networks']}
            hint=${html`Such as <code>10.0.0.0/8</code>.`}
          />
        </div>
        <${Field}
          label="Tags" ...${bind('tags')} multiline error=${errors.tags}
          hint=${html`One a line: <code>team=billing</code>. Search finds them.`}
        />
        ${ownToken && html`<${Field}
          label="Own token" ...${bind('token')} class="mono" error=${errors.token} hint="Empty: keygate makes one."
        />`}
      </div>
    </details>
  </div>`;
}
