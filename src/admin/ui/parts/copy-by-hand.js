// Where a browser does not let a page copy: the text, selected, in a dialog.

import { html } from '../lib.js';
import { Dialog } from './dialog.js';
import { TokenField } from './field.js';

/** @param {{text: string, onClose: () => void}} props */
export const CopyByHand = ({ text, onClose }) =>
  html`<${Dialog} title="Copy by hand" onClose=${onClose}>
    <p>This browser does not let the page copy. The text is selected: press Ctrl+C, or ⌘C.</p>
    <${TokenField} label="Text" value=${text} autofocus />
  <//>`;
