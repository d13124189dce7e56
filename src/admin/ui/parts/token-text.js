// A token that was just made, to take away.

import { html } from '../lib.js';
import { Banner } from './banner.js';
import { CopyButton } from './copy.js';
import { TokenField } from './field.js';

/** @param {{of: import('../types.js').KeyWithToken}} props */
export const TokenText = ({ of: key }) =>
  html`${key.warning && html`<${Banner} kind="warning">${key.warning}<//>`}
    <p><strong>${key.name}</strong> is in force.</p>
    ${key.token && html`<${TokenField}
      value=${key.token} autofocus
    ><${CopyButton} text=${key.token} label="Copy" /><//>`}`;
