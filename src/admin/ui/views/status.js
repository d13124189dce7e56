// Status: the files that keygate runs on, which revision of them is in force and what is wrong with them, the log on
// disk, and the process. Not for: changing anything but a reload now.

import { apiUrl, get, post } from '../api.js';
import { html, useId, useState } from '../lib.js';
import { Banner } from '../parts/banner.js';
import { CopyButton } from '../parts/copy.js';
import { counted, share } from '../parts/figures.js';
import { ErrorNote, FileProblems, Skeleton } from '../parts/states.js';
import { Page } from '../parts/table.js';
import { Time, bytes, number } from '../parts/time.js';
import { status, toast, useQuery, useStore } from '../store.js';

const EVERY_MS = 5_000;

/** @type {Record<string, string>} */
const MODES = {
  enforce: 'requests without a valid key are refused',
  optional: 'requests without a key pass as anonymous',
  shadow: 'nothing is refused; what would be is recorded',
};

export default function Status() {
  const now = useStore(status);
  // The frame keeps the store fresh; this is for the first time, and for a reload.
  const fresh = useQuery('status now', readStatus);
  const reloads = useQuery('reloads', lastReload, { every: EVERY_MS });
  const again = () => Promise.all([fresh.reload(), reloads.reload()]);
  return html`
    <${Page} title="Status" actions=${html`<${ReloadNow} onDone=${again} />`}>
      ${fresh.error && html`<${ErrorNote} error=${fresh.error} onRetry=${fresh.reload} />`}
      ${!now && !fresh.error && html`<div class="panel"><${Skeleton} rows=${16} /></div>`}
      ${now &&
      html`
        <${Health} now=${now} />
        <div class="halves">
          <div>
            <${Config} now=${now} />
            <${KeyFile} now=${now} last=${reloads.data} />
            <${SecretFile} secret=${now.secret_file} />
            <${Certificates} certificates=${now.certificates} problems=${now.certificate_problems} />
          </div>
          <div>
            <${Transactions} log=${now.transactions} />
            <${Process} now=${now} />
          </div>
        </div>
      `}
    <//>
  `;
}

/** @param {AbortSignal} signal */
async function readStatus(signal) {
  const { data } = await get('/status', {}, { signal });
  status.set(data);
  return data.started_at;
}

/** Who had the key file read last, as far as the audit log tells. @param {AbortSignal} signal */
async function lastReload(signal) {
  const { data } = await get('/audit', { action: 'keys.reloaded', limit: 1 }, { signal });
  return data?.events?.[0] ?? null;
}

/** @param {{onDone: () => Promise<unknown>}} props */
function ReloadNow({ onDone }) {
  const [busy, setBusy] = useState(false);
  const reload = async () => {
    if (busy) return;
    setBusy(true);
    try {
      const { data } = await post('/reload');
      toast(`The key file was read: revision ${data.revision} is in force.`);
    } catch (error) {
      toast(/** @type {Error} */ (error).message, 'danger');
    }
    await onDone();
    setBusy(false);
  };
  return html`
    <button type="button" class="button" aria-disabled=${busy ? 'true' : undefined} onClick=${reload}>Reload now</button>
  `;
}

/** What somebody should look at, before all else. @param {{now: any}} props */
function Health({ now }) {
  const { ready, blocked = [], access_problems: access = [] } = now;
  // What is wrong with keys and certificates is told below, with all its places.
  const told = [now.key_file.problems.length > 0 && 'keys', now.certificate_problems.length > 0 && 'certificates'];
  const degraded = (now.degraded ?? []).filter((/** @type {Given} */ { cause }) => !told.includes(cause));
  return html`
    ${!ready &&
    html`<${Banner} kind="danger"><strong>Not ready</strong>${blocked.map(reason)}<//>`}
    ${degraded.length > 0 && html`<${Banner} kind="warning"><strong>Degraded</strong>${degraded.map(reason)}<//>`}
    ${access.length > 0 &&
    html`
      <${Banner} kind="warning">
        <strong>The files that say who may administer have errors</strong>
        <${FileProblems} problems=${access} />
      <//>
    `}
  `;
}

/** @typedef {{cause: string, why: string}} Given */

/** @param {Given} given */
const reason = ({ cause, why }) => html`<span key=${cause}>${why} <code>${cause}</code></span>`;

/** @param {{title: string, badge?: import('../lib.js').Child, children: import('../lib.js').Child}} props */
function Part({ title, badge, children }) {
  const id = useId();
  return html`
    <section class="panel" aria-labelledby=${id}>
      <header><h2 id=${id}>${title}</h2>${badge}</header>
      <div class="padded">${children}</div>
    </section>
  `;
}

/** @param {string} path */
const copied = (path) => html`
  <span class="with-copy"><code>${path}</code><${CopyButton} label="Copy path" text=${path} iconOnly /></span>
`;

/** @param {string} tone @param {string} text */
const badge = (tone, text) => html`<span class="badge ${tone}">${text}</span>`;

/** @param {{now: any}} props */
function Config({ now }) {
  const { auth_mode: mode, token_source: source, proxy_addresses: addresses = [] } = now;
  return html`
    <${Part} title="Config">
      <dl class="facts">
        <dt>File</dt><dd>${now.config_file ? copied(now.config_file) : 'none: flags and defaults'}</dd>
        <dt>Read</dt><dd><${Time} value=${now.started_at} />, at the start</dd>
        ${mode &&
        html`
          <dt>Mode</dt>
          <dd><code>${mode}</code> <span class="muted">${MODES[mode] ?? ''}</span></dd>
        `}
        ${source && html`<dt>Token in</dt><dd>${source.kind} ${source.name && html`<code>${source.name}</code>`}</dd>`}
        ${addresses.length > 0 &&
        html`
          <dt>Listens on</dt>
          <dd>${addresses.map((/** @type {string} */ one) => html`<code key=${one} class="each">${one}</code>`)}</dd>
        `}
      </dl>
    <//>
  `;
}

/** @param {{now: any, last: any}} props */
function KeyFile({ now: { key_file: file, keys, started_at }, last }) {
  const broken = file.problems.length > 0;
  return html`
    <${Part} title="Key file" badge=${broken ? badge('bad', 'errors') : badge('ok', 'in force')}>
      ${broken &&
      html`
        <${Banner} kind="danger">
          <strong>The file has errors: the keys of the revision below stay in force</strong>
          <${FileProblems} problems=${file.problems} />
        <//>
      `}
      ${file.warnings.length > 0 &&
      html`
        <${Banner} kind="warning">
          <strong>Works, and should be better</strong>
          <${FileProblems} problems=${file.warnings} />
        <//>
      `}
      <dl class="facts">
        <dt>File</dt><dd>${copied(file.path)}</dd>
        <dt>Revision</dt><dd><code>${file.revision}</code></dd>
        <dt>Loaded</dt><dd><${Time} value=${file.loaded_at} />${loadedBy(last, file.loaded_at, started_at)}</dd>
        <dt>Edits</dt>
        <dd>${file.writable ? 'can be made here' : 'only where the file comes from: it is read-only for keygate'}</dd>
        <dt>Keys</dt><dd>${counted(keys.total, 'key')}: ${states(keys)}</dd>
      </dl>
    <//>
  `;
}

/** @param {Record<string, number>} keys */
const states = (keys) =>
  ['active', 'disabled', 'not_yet_valid', 'expired']
    .filter((state) => state === 'active' || keys[state] > 0)
    .map((state) => `${keys[state]} ${state.replaceAll('_', ' ')}`)
    .join(', ');

/**
 * Who had the revision that is in force loaded, as far as the audit log tells.
 * @param {any} last  the last reload that is in it
 * @param {string} loaded
 * @param {string} started
 */
function loadedBy(last, loaded, started) {
  const near = (/** @type {string} */ time) => Math.abs(Date.parse(time) - Date.parse(loaded)) < 2_000;
  const { kind = 'somebody', name = kind } = last?.actor ?? {};
  if (last && near(last.time)) return `, by ${kind === 'file' ? 'an edit of the file' : name}`;
  return near(started) ? ', at the start' : '';
}

/** @type {Record<string, [string, string]>} */
const SECRETS = {
  ok: ['ok', 'usable'],
  missing: ['warn', 'missing'],
  unreadable: ['bad', 'unreadable'],
  malformed: ['bad', 'malformed'],
};

/** @param {{secret: any}} props */
function SecretFile({ secret }) {
  const [tone, word] = SECRETS[secret.state] ?? ['muted', secret.state];
  return html`
    <${Part} title="Secret file" badge=${badge(tone, word)}>
      <dl class="facts">
        <dt>Name</dt><dd><code>${secret.name}</code></dd>
        <dt>For</dt><dd>sealing the copies of tokens, so that Copy works</dd>
        ${secret.detail && html`<dt>Detail</dt><dd class="bad">${secret.detail}</dd>`}
      </dl>
    <//>
  `;
}

/** @type {Record<string, string>} */
const SHOWN_TO = { clients: 'to clients', admin: 'to administrators' };

/** @param {{certificates: any[], problems: any[]}} props */
function Certificates({ certificates, problems }) {
  if (certificates.length === 0) return null;
  return html`
    <${Part} title="Certificates" badge=${problems.length > 0 ? badge('bad', 'errors') : badge('ok', 'in force')}>
      ${problems.length > 0 &&
      html`
        <${Banner} kind="danger">
          <strong>What is shown stays as it is below until this is corrected</strong>
          <${FileProblems} problems=${problems} />
        <//>
      `}
      ${certificates.map(
        (/** @type {any} */ { path, shown_to: to, names, not_after: end }) => html`
          <dl class="facts" key=${to + path}>
            <dt>File</dt><dd>${copied(path)}</dd>
            <dt>Shown</dt><dd>${SHOWN_TO[to] ?? to}</dd>
            <dt>Names</dt><dd>${names.length > 0 ? names.join(', ') : 'none: only where no other fits'}</dd>
            <dt>Ends</dt><dd><${Time} value=${end} full /></dd>
          </dl>
        `,
      )}
    <//>
  `;
}

/** @param {{log: any}} props */
function Transactions({ log }) {
  const { rebuild } = log;
  return html`
    <${Part} title="Transactions" badge=${log.recording ? badge('ok', 'recording') : badge('muted', 'not recorded')}>
      <dl class="facts">
        <dt>Folder</dt><dd>${copied(log.folder)}</dd>
        <dt>On disk</dt><dd>${bytes(log.bytes)} in ${counted(log.files, 'file')}</dd>
        <dt>Reaches back to</dt><dd><${Time} value=${log.oldest_at} never="nothing recorded yet" full /></dd>
        <dt>Totals</dt>
        <dd>
          ${rebuild.running
            ? html`reading the log: ${share(rebuild.bytes_done, rebuild.bytes_total)}`
            : html`${counted(rebuild.records, 'record')} of the log read at the start`}
        </dd>
      </dl>
      ${log.problems.length > 0 &&
      html`
        <${Banner} kind="warning">
          <strong>Parts of the log could not be read</strong>
          <ul>
            ${log.problems.map(
              (/** @type {any} */ problem) => html`
                <li key=${problem.file + problem.what}>
                  <code>${problem.file}</code>: ${problem.what}${problem.lines > 0 && ` (${counted(problem.lines, 'line')})`}
                </li>
              `,
            )}
          </ul>
        <//>
      `}
    <//>
  `;
}

/** @param {{now: any}} props */
function Process({ now }) {
  const uptime = Math.max(0, (Date.now() - Date.parse(now.started_at)) / 1_000);
  return html`
    <${Part} title="Process" badge=${now.ready ? badge('ok', 'ready') : badge('bad', 'not ready')}>
      <dl class="facts">
        <dt>Version</dt><dd>v${now.version}</dd>
        <dt>Started</dt><dd><${Time} value=${now.started_at} full /></dd>
        <dt>Runs for</dt><dd>${span(uptime)}</dd>
        <dt>Metrics</dt>
        <dd>at <code>/metrics</code> of <code>telemetry.listen</code></dd>
        <dt>API</dt><dd><a href=${apiUrl('/openapi.json')} target="_blank" rel="noreferrer">OpenAPI description</a></dd>
      </dl>
      <p class="help">This instance only: other replicas have a status of their own.</p>
    <//>
  `;
}

const SPANS = /** @type {const} */ ([
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
  [1, 's'],
]);

/** `3 d 4 h`: the two largest units. @param {number} seconds */
function span(seconds) {
  const first = SPANS.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  const [size, unit] = SPANS[first];
  const rest = SPANS[first + 1];
  const large = `${number(Math.floor(seconds / size))} ${unit}`;
  const small = rest ? Math.floor((seconds % size) / rest[0]) : 0;
  return small > 0 ? `${large} ${small} ${rest[1]}` : large;
}
