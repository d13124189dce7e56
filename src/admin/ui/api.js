// The one way to the admin API. Problems (RFC 9457) become `ApiError`, a missing connection `NetworkError`. When the
// session ends while somebody is at work, a call waits until they have signed in again and then goes on.
// Not for: what the answers mean.

import { session } from './store.js';

/** Where the pages live: `/`, or the path prefix behind another proxy, with a slash at its end. */
export const base = document.querySelector('meta[name="keygate-base"]')?.getAttribute('content') || '/';

/** The API said no. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {Partial<import('./types.js').Problem>} problem
   * @param {number | null} retryAfter  seconds
   */
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.name = 'ApiError';
    this.status = status;
    this.code = problem.code || '';
    this.title = problem.title || '';
    this.detail = this.message;
    this.errors = problem.errors || [];
    this.problems = problem.problems || [];
    this.requestId = problem.request_id || '';
    this.current = problem.current || '';
    this.entry = problem.entry || '';
    this.holder = problem.holder || '';
    this.retryAfter = retryAfter;
  }
}

/** No answer came. */
export class NetworkError extends Error {
  constructor() {
    super('keygate cannot be reached. Check that it runs and that this machine is connected.');
    this.name = 'NetworkError';
  }
}

/** An answer came that is not what the API says it is, from another version or from another proxy. */
export class UnexpectedError extends Error {
  /** @param {string} what */
  constructor(what) {
    const todo = 'Check that this address leads to keygate itself, and reload the page after an update of keygate.';
    super(`The answer could not be read: ${what}. ${todo}`);
    this.name = 'UnexpectedError';
  }
}

/**
 * The answer, if it has these fields.
 * @param {any} data
 * @param {Record<string, 'string' | 'number' | 'object' | 'array'>} fields
 */
export function expected(data, fields) {
  for (const [name, type] of Object.entries(fields)) {
    const value = data?.[name];
    const found = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
    if (found !== type) throw new UnexpectedError(`\`${name}\` is ${found === 'undefined' ? 'missing' : `no ${type}`}`);
  }
  return data;
}

/**
 * @typedef {object} Options
 * @property {Record<string, unknown>} [query]  what is null, undefined or empty is left out
 * @property {unknown} [body]  sent as JSON
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/** @typedef {{status: number, data: any, etag: string | null, headers: Headers}} Answer */

/**
 * The address of an operation, for links and event streams.
 * @param {string} path @param {Record<string, unknown>} [query]
 */
export function apiUrl(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return `${base}api/v1${path}${text && `?${text}`}`;
}

/**
 * @param {string} method
 * @param {string} path  below `/api/v1`
 * @param {Options} [options]
 * @returns {Promise<Answer>}
 */
export async function api(method, path, options = {}) {
  for (;;) {
    try {
      return await once(method, path, options);
    } catch (error) {
      const { state, expired } = session.get();
      const ended = error instanceof ApiError && (error.code === 'unauthenticated' || error.code === 'setup_required');
      if (!ended || !(state === 'signed_in' || expired)) throw error;
      session.ended();
      await session.signedInAgain(options.signal);
    }
  }
}

/** @param {string} method @param {string} path @param {Options} options @returns {Promise<Answer>} */
async function once(method, path, { query, body, headers = {}, signal }) {
  /** @type {Record<string, string>} */
  const sent = { accept: 'application/json', ...headers };
  if (body !== undefined) sent['content-type'] ??= 'application/json';
  let response;
  let text;
  try {
    response = await fetch(apiUrl(path, query), {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: 'same-origin',
      cache: 'no-store',
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new NetworkError();
  }
  const data = parsed(text);
  if (!response.ok && response.status !== 304) {
    const wait = Number(response.headers.get('retry-after'));
    throw new ApiError(response.status, data || {}, wait > 0 ? wait : null);
  }
  if (text && data === null) throw new UnexpectedError('it is no JSON');
  return { status: response.status, data, etag: response.headers.get('etag'), headers: response.headers };
}

/** Null for what is no JSON. @param {string} text */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** @param {string} path @param {Record<string, unknown>} [query] @param {Options} [options] */
export const get = (path, query, options) => api('GET', path, { ...options, query });
/** @param {string} path @param {unknown} [body] @param {Options} [options] */
export const post = (path, body, options) => api('POST', path, { ...options, body });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const put = (path, body, options) => api('PUT', path, { ...options, body });
/** @param {string} path @param {unknown} body @param {Options} [options] */
export const patch = (path, body, options) => api('PATCH', path, { ...options, body });
/** @param {string} path @param {Options} [options] */
export const del = (path, options) => api('DELETE', path, options);

/** @param {string} id */
export const keyPath = (id) => `/keys/${encodeURIComponent(id)}`;
