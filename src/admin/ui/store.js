// What all pages share: the session, the theme, short messages, the revision of the key file that is in force, and
// `useQuery`, which keeps what was read fresh. Not for: what one view alone needs.

import { useCallback, useEffect, useRef, useState } from './lib.js';

/**
 * A value, and those who want to know when it changes.
 * @template T
 * @param {T} value
 */
export function createStore(value) {
  /** @type {Set<() => void>} */
  const listeners = new Set();
  return {
    get: () => value,
    /** @param {T | ((old: T) => T)} next */
    set(next) {
      const made = typeof next === 'function' ? /** @type {(old: T) => T} */ (next)(value) : next;
      if (Object.is(made, value)) return;
      value = made;
      for (const listener of [...listeners]) listener();
    },
    /** @param {() => void} listener */
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/**
 * @template T
 * @param {{get: () => T, subscribe: (listener: () => void) => () => void}} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(store.get);
  useEffect(() => {
    const take = () => setValue(() => store.get());
    take();
    return store.subscribe(take);
  }, [store]);
  return value;
}

// ---- session

/**
 * @typedef {object} SessionState
 * @property {'loading' | 'failed' | 'setup_required' | 'signed_out' | 'signed_in'} state
 * @property {boolean} [expired]  it ended under somebody's hands: sign-in goes over the page
 * @property {string} [actor]
 * @property {'session' | 'token'} [method]
 * @property {string} [version]
 * @property {boolean} [plain_http]
 * @property {Error} [error]
 */

const sessionStore = createStore(/** @type {SessionState} */ ({ state: 'loading' }));

export const session = {
  ...sessionStore,
  /** The API no longer knows us. */
  ended() {
    sessionStore.set((old) => (old.state === 'signed_in' ? { ...old, state: 'signed_out', expired: true } : old));
  },
  /**
   * Resolves once somebody is signed in.
   * @param {AbortSignal} [signal]
   * @returns {Promise<void>}
   */
  signedInAgain(signal) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (sessionStore.get().state !== 'signed_in') return;
        leave();
        resolve();
      };
      const leave = sessionStore.subscribe(look);
      signal?.addEventListener('abort', () => {
        leave();
        reject(signal.reason);
      });
      look();
    });
  },
};

// ---- theme

const systemDark = matchMedia('(prefers-color-scheme: dark)');

/** @returns {'light' | 'dark'} */
function presentTheme() {
  const chosen = stored('keygate.theme');
  if (chosen === 'light' || chosen === 'dark') return chosen;
  return systemDark.matches ? 'dark' : 'light';
}

const themeStore = createStore(presentTheme());

export const theme = {
  ...themeStore,
  toggle() {
    const next = themeStore.get() === 'dark' ? 'light' : 'dark';
    store('keygate.theme', next);
    themeStore.set(next);
  },
};

const showTheme = () => document.documentElement.setAttribute('data-theme', themeStore.get());
themeStore.subscribe(showTheme);
showTheme();
const followTheme = () => themeStore.set(presentTheme());
systemDark.addEventListener('change', followTheme);
addEventListener('storage', followTheme);

/** What this browser remembers; null where it may not. @param {string} name */
export function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function store(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // A browser that keeps nothing works as well.
  }
}

// ---- short messages

/** @typedef {{id: number, text: string, kind: 'info' | 'danger'}} Toast */

export const toasts = createStore(/** @type {Toast[]} */ ([]));
let lastToast = 0;

/** Says something for five seconds. @param {string} text @param {'info' | 'danger'} [kind] */
export function toast(text, kind = 'info') {
  const id = ++lastToast;
  toasts.set((all) => [...all.slice(-2), { id, text, kind }]);
  setTimeout(() => toasts.set((all) => all.filter((one) => one.id !== id)), kind === 'danger' ? 10_000 : 5_000);
}

// ---- what is in force

/** The revision of the key file that was seen last; queries read again when it changes. */
export const revision = createStore('');

/** What `GET /status` said last; the frame keeps it fresh. */
export const status = createStore(/** @type {import('./types.js').Status | null} */ (null));

/** Whether the key file can be edited; true as long as nobody knows. @returns {boolean} */
export function useWritable() {
  const now = useStore(status);
  return now?.key_file?.writable ?? true;
}

// ---- queries

/** @typedef {{key?: string | null, data: any, error: any, loading: boolean, abort: AbortController | null}} Seen */

/** What was read last, so that coming back shows it at once. @type {Map<string, any>} */
const remembered = new Map();
const REMEMBERED_MAX = 60;

/** @param {string} key @param {any} data */
function remember(key, data) {
  remembered.delete(key);
  remembered.set(key, data);
  for (const oldest of remembered.keys()) {
    if (remembered.size <= REMEMBERED_MAX) break;
    remembered.delete(oldest);
  }
}

/** Forgets what was read: after signing out. */
export const forgetQueries = () => remembered.clear();

/**
 * Reads, and keeps fresh what was read: every `every` ms while the tab is in sight, when it comes into sight, and
 * when the key file has changed. While it reads again, the old data stays; with `keep` also that of another key.
 * @template T
 * @param {string | null} key  what is read, as a text; null: nothing
 * @param {(signal: AbortSignal) => Promise<T>} read
 * @param {{every?: number, keep?: boolean}} [options]
 * @returns {{data: T | undefined, error: any, loading: boolean, reload: () => Promise<void>}}
 */
export function useQuery(key, read, { every, keep = false } = {}) {
  const [, redraw] = useState(0);
  const seen = useRef(/** @type {Seen} */ ({ key: undefined, data: undefined, error: null, loading: false, abort: null }));
  const reader = useRef(read);
  reader.current = read;

  const now = seen.current;
  if (now.key !== key) {
    now.abort?.abort();
    now.abort = null;
    now.key = key;
    const known = key === null ? undefined : remembered.get(key);
    if (known !== undefined || !keep) now.data = known;
    now.error = null;
    now.loading = key !== null;
  }

  const reload = useCallback(async () => {
    if (key === null) return;
    now.abort?.abort();
    const abort = new AbortController();
    now.abort = abort;
    try {
      const data = await reader.current(abort.signal);
      if (now.abort !== abort) return;
      const same = now.error === null && !now.loading && JSON.stringify(now.data) === JSON.stringify(data);
      now.abort = null;
      now.error = null;
      now.loading = false;
      if (same) return;
      now.data = data;
      remember(key, data);
    } catch (error) {
      if (now.abort !== abort) return;
      now.abort = null;
      now.error = error;
      now.loading = false;
    }
    redraw((count) => count + 1);
  }, [key]);

  useEffect(() => {
    if (key === null) return undefined;
    reload();
    const again = () => {
      if (document.visibilityState === 'visible' && !now.abort) reload();
    };
    const timer = every ? setInterval(again, every) : undefined;
    addEventListener('focus', again);
    document.addEventListener('visibilitychange', again);
    const leave = revision.subscribe(again);
    return () => {
      clearInterval(timer);
      removeEventListener('focus', again);
      document.removeEventListener('visibilitychange', again);
      leave();
      now.abort?.abort();
      now.abort = null;
    };
  }, [key, every]);

  return { data: now.data, error: now.error, loading: now.loading, reload };
}
