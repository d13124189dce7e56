// Addresses and views: every view has an address, filters live in its query, and back, forward and reload come to
// where one was. Not for: what a view shows.

import { base } from './api.js';
import { createStore, useStore } from './store.js';

/** Name of the view and its pattern. @type {[string, RegExp][]} */
const ROUTES = [
  ['dashboard', /^$/],
  ['keys', /^keys$/],
  ['key', /^keys\/(?<id>[^/]+)$/],
  ['transactions', /^transactions$/],
  ['try', /^try$/],
  ['status', /^status$/],
  ['setup', /^setup$/],
];

/**
 * @typedef {object} Route
 * @property {string} name  `not_found` for an address without a view
 * @property {Record<string, string>} params
 * @property {URLSearchParams} query
 * @property {any} state  what the visit to this address keeps
 */

/** @returns {Route} */
function present() {
  const query = new URLSearchParams(location.search);
  const state = history.state?.view ?? null;
  const path = location.pathname.startsWith(base) ? location.pathname.slice(base.length) : location.pathname;
  for (const [name, pattern] of ROUTES) {
    const found = pattern.exec(path.replace(/\/$/, ''));
    if (found) return { name, params: decoded(found.groups || {}), query, state };
  }
  return { name: 'not_found', params: {}, query, state };
}

/** @param {Record<string, string>} groups */
function decoded(groups) {
  return Object.fromEntries(
    Object.entries(groups).map(([name, value]) => {
      try {
        return [name, decodeURIComponent(value)];
      } catch {
        return [name, value];
      }
    }),
  );
}

const route = createStore(present());

export const useRoute = () => useStore(route);
export const currentRoute = () => route.get();

/**
 * The address of a view, below the base.
 * @param {string} path  `/keys`
 * @param {Record<string, unknown> | URLSearchParams} [query]
 */
export function href(path, query = {}) {
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  const kept = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return base + path.replace(/^\//, '') + (text && `?${text}`);
}

/**
 * @param {string} path
 * @param {{query?: Record<string, unknown> | URLSearchParams, replace?: boolean, state?: any}} [options]
 */
export const navigate = (path, { query, replace = false, state = null } = {}) => go(href(path, query), replace, state);

/**
 * Changes the query of the present address; what is null or empty is taken out.
 * @param {Record<string, unknown>} changes
 * @param {{replace?: boolean, state?: any}} [options]
 */
export function setQuery(changes, { replace = false, state = null } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === '') query.delete(name);
    else query.set(name, String(value));
  }
  const text = query.toString();
  go(location.pathname + (text && `?${text}`), replace, state);
}

/** @param {string} address @param {boolean} replace @param {any} state */
function go(address, replace, state) {
  const before = location.pathname;
  const entry = { view: state, at: replace ? (history.state?.at ?? fresh()) : fresh() };
  if (!replace) keepScroll();
  history[replace ? 'replaceState' : 'pushState'](entry, '', address);
  route.set(present());
  if (location.pathname !== before) scrollTo(0, 0);
}

// ---- where one was: kept for each entry of the history, and put back when the page is long enough again

/** @type {Map<string, number>} */
const scrolls = new Map();
const fresh = () => Math.random().toString(36).slice(2);
const keepScroll = () => history.state?.at && scrolls.set(history.state.at, scrollY);

function restoreScroll() {
  const wanted = scrolls.get(history.state?.at) ?? 0;
  let tries = 40;
  const attempt = () => {
    scrollTo(0, wanted);
    if (Math.abs(scrollY - wanted) > 2 && tries-- > 0) requestAnimationFrame(attempt);
  };
  requestAnimationFrame(attempt);
}

let startedRouting = false;

/** Begins to follow links and the history. */
export function startRouting() {
  if (startedRouting) return;
  startedRouting = true;
  history.scrollRestoration = 'manual';
  if (!history.state?.at) history.replaceState({ view: null, at: fresh() }, '');
  addEventListener('scroll', keepScroll, { passive: true });
  addEventListener('popstate', () => {
    route.set(present());
    restoreScroll();
  });
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = /** @type {Element} */ (event.target).closest?.('a[href]');
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute('download')) return;
    if (link.origin !== location.origin || !link.pathname.startsWith(base)) return;
    if (link.pathname.startsWith(`${base}api/`) || link.pathname.startsWith(`${base}assets/`)) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    go(link.pathname + link.search + link.hash, link.href === location.href, null);
  });
}
