// Points in time, durations, numbers and sizes as people read them. Not for: shares, spans and hours of the day, which
// are `figures.js`.

import { html } from '../lib.js';
import { createStore, useStore } from '../store.js';

const LOCALE = 'en';
const absolute = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'medium', timeStyle: 'long' });
const whole = new Intl.NumberFormat(LOCALE);
const short = new Intl.NumberFormat(LOCALE, { notation: 'compact', maximumFractionDigits: 1 });
const three = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 });
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: 'always', style: 'short' });

/** The present, every ten seconds, so that "2 min ago" stays true. */
const ticks = createStore(Date.now());
setInterval(() => document.visibilityState === 'visible' && ticks.set(Date.now()), 10_000);

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

/** `2 min. ago`, `in 3 days`. @param {number} at  milliseconds @param {number} now */
export function timeFrom(at, now = Date.now()) {
  const seconds = Math.round((at - now) / 1000);
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.round(seconds / length), unit).replace('.', '');
  }
  // Also where two clocks do not quite agree.
  if (Math.abs(seconds) < 10) return 'just now';
  return seconds > 0 ? `in ${seconds} s` : `${-seconds} s ago`;
}

/** With the zone. @param {string | number | Date} value */
export const absoluteTime = (value) => absolute.format(new Date(value));

/**
 * @param {{value: string | number | null | undefined, never?: string, full?: boolean}} props  full: the absolute time
 */
export function Time({ value, never = 'never', full = false }) {
  useStore(ticks);
  if (value === null || value === undefined || value === '') return html`<span class="muted">${never}</span>`;
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return String(value);
  const text = timeFrom(date.getTime());
  const long = absoluteTime(date);
  return html`<time datetime=${date.toISOString()} title=${full ? text : long}>${full ? long : text}</time>`;
}

/** @param {number | null | undefined} value @returns {value is number} */
const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** `1,000,000` @param {number | null | undefined} value */
export const number = (value) => (known(value) ? whole.format(value) : '–');

/** `1.2M`, where there is little room. @param {number | null | undefined} value */
export const compact = (value) => (known(value) ? short.format(value) : '–');

/** `812 µs`, `3.12 ms`, `1.5 s` @param {number | null | undefined} us  microseconds */
export function duration(us) {
  if (!known(us)) return '–';
  if (us < 1000) return `${whole.format(us)} µs`;
  if (us < 999_500) return `${three.format(us / 1000)} ms`;
  return `${three.format(us / 1_000_000)} s`;
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `64 KiB` @param {number | null | undefined} value */
export function bytes(value) {
  if (!known(value)) return '–';
  let size = value;
  let unit = 0;
  while (size >= 1023.5 && unit < SIZES.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${three.format(size)} ${SIZES[unit]}`;
}
