// Try it: a request with a chosen key, sent through the real proxy, and what came back. The browser never sees the
// token: keygate adds it. Not for: remembering requests, which is `try-history.js`.

import { get, keyPath, post } from '../api.js';
import { html, useEffect, useId, useRef, useState } from '../lib.js';
import { announce } from '../parts/announce.js';
import { CopyButton } from '../parts/copy.js';
import { curl, tokenSource } from '../parts/curl.js';
import { Field, fieldErrors, focusFirstInvalid } from '../parts/field.js';
import { Icon } from '../parts/icon.js';
import { KeyPicker } from '../parts/key-picker.js';
import { stylesheet } from '../parts/lazy.js';
import { StatusCode } from '../parts/outcome.js';
import { Empty, ErrorNote } from '../parts/states.js';
import { Page } from '../parts/table.js';
import { Time, bytes, duration } from '../parts/time.js';
import { href } from '../router.js';
import { status, useQuery, useStore } from '../store.js';
import { headerPairs, remember, remembered } from './try-history.js';

/** @typedef {import('./try-history.js').Draft} Draft */
/** @typedef {import('../parts/key-picker.js').Choice} Choice */

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {[string, string][]} headers
 * @property {string} body
 * @property {boolean} body_is_base64
 * @property {boolean} body_truncated
 * @property {number} duration_us
 * @property {string} request_id
 */

await stylesheet('requests.css');

/** @type {[string, string][]} */
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].map((method) => [method, method]);
const FIELDS = ['key_id', 'method', 'path', 'headers', 'body'];

/** @param {URLSearchParams} query @returns {Draft} */
const firstDraft = (query) => ({
  key: null,
  method: query.get('method') || 'GET',
  path: query.get('path') || '/',
  headers: '',
  body: '',
});

/** A key without a copy of its token cannot be sent. @param {Choice} key */
const unfit = (key) => (key.copy === 'none' ? 'no copy of its token' : null);

/** @param {{query: URLSearchParams}} props */
export default function TryIt({ query }) {
  const [draft, setDraft] = useState(() => firstDraft(query));
  const [answer, setAnswer] = useState(/** @type {Answer | null} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [sending, setSending] = useState(false);
  const [recent, setRecent] = useState(remembered);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const pending = useRef(/** @type {AbortController | null} */ (null));
  const now = useStore(status);
  usePresetKey(query.get('key'), (key) => setDraft((old) => ({ ...old, key: old.key ?? key })));
  useEffect(() => () => pending.current?.abort(), []);

  const { pairs, wrong } = headerPairs(draft.headers);
  const { fields: wrongFields } = fieldErrors(error, FIELDS);
  // Not at a field, where it is marked.
  const elsewhere = error && error.code !== 'headers' && !Object.keys(wrongFields).length;
  const headersError = error?.code === 'headers' ? error.message : wrongFields.headers;
  /** @param {keyof Draft} field */
  const set = (field) => (/** @type {Draft[keyof Draft]} */ value) => setDraft((old) => ({ ...old, [field]: value }));

  /** @param {Event} [event] */
  const send = async (event) => {
    event?.preventDefault();
    if (sending) return;
    if (wrong) {
      setError({ code: 'headers', message: wrong });
      return focusFirstInvalid(form.current);
    }
    setSending(true);
    setError(null);
    pending.current = new AbortController();
    const { key, method, path, body } = draft;
    const request = { key_id: key?.id ?? null, method, path, headers: pairs, body: body || null };
    try {
      const { data } = await post('/try', request, { signal: pending.current.signal });
      setAnswer(data);
      setRecent(remember(draft, data, now?.token_source?.name));
      announce(`Answered with status ${data.status}`);
    } catch (problem) {
      if (pending.current.signal.aborted) return;
      setAnswer(null);
      setError(problem);
      focusFirstInvalid(form.current);
    }
    setSending(false);
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(event);
  };
  const line = curl({
    method: draft.method,
    address: now?.proxy_addresses?.[0] ?? location.hostname,
    path: draft.path || '/',
    headers: pairs,
    body: draft.body || null,
    token: draft.key ? tokenSource(now) : null,
  });

  return html`
    <${Page} title="Try it">
      <div class="try">
        <form class="panel padded form" ref=${form} onSubmit=${send} onKeyDown=${press} novalidate>
          <${KeyField} draft=${draft} error=${wrongFields.key_id} onChoose=${set('key')} />
          <div class="try-line">
            <${Field} label="Method" value=${draft.method} options=${methodChoices(draft.method)}
              error=${wrongFields.method} onValue=${set('method')} />
            <${Field} label="Path" class="mono" value=${draft.path} placeholder="/v1/items?page=2"
              error=${wrongFields.path} onValue=${set('path')} />
          </div>
          <${Field} label="Headers" class="mono" multiline rows="3" spellcheck=${false} value=${draft.headers}
            placeholder="Accept: application/json" hint="One a line, name: value. keygate adds the token of the key."
            error=${headersError} onValue=${set('headers')} />
          <${Field} label="Body" class="mono" multiline rows="5" spellcheck=${false} value=${draft.body}
            error=${wrongFields.body} onValue=${set('body')} />
          <div class="buttons">
            <button type="submit" class="button primary" aria-disabled=${sending ? 'true' : undefined} title="Ctrl+Enter">
              ${sending ? 'Sending…' : 'Send'}
            </button>
            <${CopyButton} label="Copy as curl" text=${line} />
          </div>
        </form>
        <section class="panel padded try-answer" aria-label="Answer">
          <h2>Answer</h2>
          ${elsewhere && html`<${ErrorNote} error=${error} onRetry=${send} />`}
          ${answer && html`<${Answered} answer=${answer} />`}
          ${!answer && html`<${NoAnswer} sending=${sending} wrong=${Boolean(error)} />`}
        </section>
      </div>
      <${Recent} recent=${recent} onChoose=${(/** @type {Draft} */ old) => setDraft({ ...old })} />
    <//>
  `;
}

/** @param {string} method */
const methodChoices = (method) =>
  METHODS.some(([name]) => name === method) ? METHODS : [...METHODS, [method, method]];

/**
 * The key to begin with: the one that the address asks for, or the one that was used last.
 * @param {string | null} id
 * @param {(key: Choice) => void} found
 */
function usePresetKey(id, found) {
  const { data } = useQuery(`key to try ${id ?? ''}`, (signal) => presetKey(id, signal));
  const given = useRef(false);
  useEffect(() => {
    if (!data || given.current) return;
    given.current = true;
    // Somebody is choosing one already.
    if (document.activeElement?.getAttribute('role') !== 'combobox') found(data);
  }, [data]);
}

/** @param {string | null} id @param {AbortSignal} signal @returns {Promise<Choice | null>} */
async function presetKey(id, signal) {
  const keys = id
    ? [(await get(keyPath(id), {}, { signal })).data]
    : (await get('/keys', { sort: '-last_used_at', status: 'active', limit: 10 }, { signal })).data.keys;
  return keys.find((/** @type {Choice} */ key) => !unfit(key)) ?? null;
}

/** @param {{draft: Draft, error?: string, onChoose: (key: Choice | null) => void}} props */
function KeyField({ draft, error, onChoose }) {
  const id = useId();
  return html`
    <div class="field">
      <label for=${id}>API key</label>
      <${KeyPicker} id=${id} value=${draft.key?.name ?? ''} placeholder="None: send without a key" unfit=${unfit}
        invalid=${Boolean(error)} describedBy=${error ? `${id}-error` : undefined} onChoose=${onChoose} />
      ${error && html`<span class="error" id="${id}-error"><${Icon} name="warning" />${error}</span>`}
    </div>
  `;
}

/** @param {{sending: boolean, wrong: boolean}} props */
function NoAnswer({ sending, wrong }) {
  if (sending) return html`<${Empty} title="Waiting for the answer…" />`;
  if (wrong) return html`<p class="muted">The request was not sent, or was not answered.</p>`;
  return html`
    <${Empty}
      title="Nothing sent yet"
      text="Choose a key and send: the request goes through keygate like that of any client."
    />
  `;
}

/** @param {{answer: Answer}} props */
function Answered({ answer }) {
  const [raw, setRaw] = useState(false);
  const pretty = answer.body_is_base64 ? null : prettyJson(answer.body);
  const text = raw || pretty === null ? answer.body : pretty;
  return html`
    <p class="outcome-line">
      <span>status <b><${StatusCode} status=${answer.status} /></b></span>
      <span>${duration(answer.duration_us)}</span>
      <a href=${href('/transactions', { open: answer.request_id })}>See the transaction</a>
    </p>
    <details>
      <summary>${answer.headers.length} headers</summary>
      <dl class="facts mono">
        ${answer.headers.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
      </dl>
    </details>
    ${text
      ? html`
          <div class="try-body-head">
            <h3>Body</h3>
            ${answer.body_is_base64 && html`<span class="help">not text: shown as base64</span>`}
            ${pretty !== null &&
            html`
              <button type="button" class="button quiet" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>Raw</button>
            `}
            <${CopyButton} text=${text} />
          </div>
          <pre class="code" tabindex="0" role="region" aria-label="What came back">${text}</pre>
          ${answer.body_truncated &&
          html`<p class="help">The rest is left out: the answer is longer than ${bytes(text.length)}.</p>`}
        `
      : html`<p class="muted">The answer has no body.</p>`}
  `;
}

/** Null for what is no JSON object or list. @param {string} text */
function prettyJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** @param {{recent: import('./try-history.js').Entry[], onChoose: (draft: Draft) => void}} props */
function Recent({ recent, onChoose }) {
  const id = useId();
  if (!recent.length) return null;
  return html`
    <section class="panel" aria-labelledby=${id}>
      <header><h2 id=${id}>Recent requests</h2><span class="help">in this browser, without tokens</span></header>
      <ul class="rows" aria-labelledby=${id}>
        ${recent.map(
          (entry) => html`
            <li key=${entry.request_id}>
              <button
                type="button"
                class="row-button"
                title="Fill the form with this request"
                onClick=${() => onChoose(entry.draft)}
              >
                <code class="clip"><b>${entry.draft.method}</b> ${entry.draft.path}</code>
                <span class="clip muted">${entry.draft.key?.name ?? 'no key'}</span>
                <${StatusCode} status=${entry.status} />
                <span class="muted"><${Time} value=${entry.at} /></span>
              </button>
              <a href=${href('/transactions', { open: entry.request_id })}>transaction</a>
            </li>
          `,
        )}
      </ul>
    </section>
  `;
}
