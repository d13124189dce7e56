// Something that the whole page should know.

import { classes, html } from '../lib.js';
import { Icon } from './icon.js';

/** @type {Record<string, import('./icon.js').IconName>} */
const ICONS = { info: 'info', warning: 'warning', danger: 'warning', ok: 'done' };

/** @param {{kind?: 'info' | 'warning' | 'danger' | 'ok', role?: string, children?: import('../lib.js').Child}} props */
export const Banner = ({ kind = 'info', role, children }) =>
  html`<div class=${classes('banner', kind)} role=${role}><${Icon} name=${ICONS[kind]} /><div>${children}</div></div>`;
