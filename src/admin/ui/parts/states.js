// What a view shows when there is nothing to show: it loads, it is empty, it failed, or it could not read an answer.

import { Fragment, html, sentence, useErrorBoundary } from '../lib.js';
import { Banner } from './banner.js';
import { CopyButton } from './copy.js';

/** @param {{rows?: number, label?: string}} props */
export const Skeleton = ({ rows = 6, label = 'Loading' }) =>
  html`<div
    class="skeleton" role="status" aria-label=${label}
  >${Array.from({ length: rows }, (_, row) => html`<span key=${row}></span>`)}</div>`;

/** @param {{title: string, text?: import('../lib.js').Child, action?: import('../lib.js').Child}} props */
export const Empty = ({ title, text, action }) =>
  html`<div class="empty"><h2>${title}</h2>${text && html`<p>${text}</p>`}${action}</div>`;

/**
 * What went wrong, and what to do.
 * @param {{error: any, onRetry?: () => void, title?: string}} props
 */
export function ErrorNote({ error, onRetry, title }) {
  if (!error) return null;
  const told = error.problems?.length || error.entry;
  return html`<${Banner} kind=${error.entry ? 'warning' : 'danger'} role="alert">
    ${(title || error.title) && html`<strong>${title || error.title}</strong>`}
    ${!told && html`<span>${sentence(error.message || String(error))}</span>`}
    <${FileProblems} problems=${error.problems} />
    ${error.entry && html`<${EntryToPaste} entry=${error.entry} />`}
    ${(onRetry || (error.requestId && !error.entry)) &&
    html`<span class="buttons">
      ${onRetry && html`<button type="button" class="button" onClick=${onRetry}>Try again</button>`}
      ${error.requestId &&
      html`<span class="small muted">Request <code>${error.requestId}</code></span>
        <${CopyButton} text=${error.requestId} label="Copy request id" iconOnly />`}
    </span>`}
  <//>`;
}

/** What is wrong in files, with file:line:column. @param {{problems?: import('../types.js').FileProblem[]}} props */
export const FileProblems = ({ problems }) =>
  problems?.length
    ? html`<ul>
        ${problems.slice(0, 5).map((problem) => html`<${FileProblem} of=${problem} />`)}
        ${problems.length > 5 && html`<li class="muted">and ${problems.length - 5} more</li>`}
      </ul>`
    : null;

/** @param {{of: import('../types.js').FileProblem}} props */
const FileProblem = ({ of: { path, what, hint, ...at } }) =>
  html`<li>
    <code>${place(at)}</code> ${path && html`<code>${path}</code>: `}${what}
    ${hint && html`<br /><span class="muted">${hint}</span>`}
  </li>`;

/** `keys.yaml:3:5` @param {{file: string, line: number | null, column: number | null}} at */
export const place = ({ file, line, column }) => [file, line, column].filter((part) => part ?? false).join(':');

/** For a key file that only others can write. @param {{entry: string}} props */
export const EntryToPaste = ({ entry }) =>
  html`<span>This is the entry to paste where the key file comes from:</span>
    <pre class="code" tabindex="0" role="region" aria-label="Entry to paste">${entry}</pre>
    ${/^\s*"?sealed"?:/m.test(entry) && html`<span>Once it is in force, its token can be copied here.</span>`}
    <span><${CopyButton} text=${entry} label="Copy entry" /></span>`;

/**
 * Shows what could not be shown, in place of a blank page.
 * @param {{children?: import('../lib.js').Child}} props
 */
export function Boundary({ children }) {
  const [error, reset] = useErrorBoundary((caught) => console.warn('A view failed:', caught));
  if (!error) return html`<${Fragment}>${children}<//>`;
  const message = `What keygate answered could not be read (${error.message || error}). Reload after an update of keygate.`;
  return html`<${ErrorNote} title="This could not be shown" onRetry=${reset} error=${{ message }} />`;
}
