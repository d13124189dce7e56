// The keyboard shortcuts, for whoever asks with `?`.

import { html } from '../lib.js';
import { Dialog } from '../parts/dialog.js';

/** @type {[string, string][]} */
const KEYS = [
  ['/', 'Search'],
  ['n', 'New API key'],
  ['?', 'These shortcuts'],
  ['Esc', 'Close'],
];

/** @param {{onClose: () => void}} props */
export default function Shortcuts({ onClose }) {
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <dl class="facts">${KEYS.map(([key, text]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${text}</dd>`)}</dl>
  <//>`;
}
