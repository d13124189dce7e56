// The icons: strokes in a square of 16, drawn for these pages.

import { html } from '../lib.js';

const PATHS = {
  dashboard: 'M2.5 9.5v4h3v-4zM6.5 2.5v11h3v-11zM10.5 6.5v7h3v-7z',
  keys: 'M10 2.5a3.5 3.5 0 1 1-2.9 5.4L2.5 12.5v1h2v-1.5H6v-1.5h1.2l1-1M10.8 5.2h.01',
  transactions: 'M2.5 5h9M9 2.5 11.5 5 9 7.5M13.5 11h-9M7 8.5 4.5 11 7 13.5',
  try: 'M13.5 2.5 7.25 8.75M13.5 2.5l-4 11-2.25-4.75L2.5 6.5z',
  status: 'M1.5 8h3l2-5 3 10 2-5h3',
  plus: 'M8 3v10M3 8h10',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3l3.2 3.2',
  copy: 'M6 5.5h7.5v8H6zM10 5.5v-3H2.5v8H6',
  edit: 'M10.5 3 13 5.5 5.5 13l-3 .500.5-3zM9 4.5 11.5 7',
  more: 'M3 8a.5.5 0 1 0 1 0 .5.5 0 0 0-1 0zM7.5 8a.5.5 0 1 0 1 0 .5.5 0 0 0-1 0zM12 8a.5.5 0 1 0 1 0 .5.5 0 0 0-1 0z',
  check: 'm3 8.5 3.5 3.5L13 4.5',
  close: 'm4 4 8 8M12 4l-8 8',
  left: 'm10 3.5-4.5 4.5 4.5 4.5',
  right: 'm6 3.5 4.5 4.5L6 12.5',
  down: 'm3.5 6 4.5 4.5L12.5 6',
  sun: 'M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7',
  moon: 'M13 9.8A5.5 5.5 0 0 1 6.2 3a5.5 5.5 0 1 0 6.8 6.8z',
  person: 'M8 2.5a2.75 2.75 0 1 1 0 5.5 2.75 2.75 0 0 1 0-5.5zM2.8 13.5c.5-2.3 2.6-3.5 5.2-3.5s4.7 1.2 5.2 3.5',
  warning: 'M8 2 14.5 13.5h-13zM8 6.5v3M8 11.5h.01',
  info: 'M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM8 7.2v4M8 4.9h.01',
  done: 'M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM5.3 8.2l1.9 1.9 3.5-3.9',
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {{name: IconName}} props */
export const Icon = ({ name }) =>
  html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;

/** keygate's own sign: a keyhole in a lozenge. */
export const Sign = () =>
  html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path fill-rule="evenodd" d="M8 .8 15.2 8 8 15.2.8 8zM8 4.9a1.7 1.7 0 0 0-.8 3.2l-.5 3h2.6l-.5-3A1.7 1.7 0 0 0 8 4.9z" />
  </svg>`;
