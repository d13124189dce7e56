// Shares, counts and hours of the day as text, for charts and figures. Not for: numbers, sizes and dates, which are
// `time.js`.

import { number } from './time.js';

const part = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 });
/** @type {Intl.DateTimeFormatOptions} */
const minutes = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
const clock = new Intl.DateTimeFormat('en', minutes);
const dayClock = new Intl.DateTimeFormat('en', { weekday: 'short', ...minutes });
const zoned = new Intl.DateTimeFormat('en', { timeZoneName: 'short' });

/** `5.6%`; nothing of nothing is no share. @param {number} some @param {number} all */
export const share = (some, all) => (all > 0 ? part.format(some / all) : '–');

/** `1 key`, `2 keys` @param {number} value @param {string} one @param {string} [many] */
export const counted = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** `18:30` @param {number} time  milliseconds, as `Date` has it */
export const clockTime = (time) => clock.format(time);

/** `Wed 18:30` @param {number} time */
export const dayTime = (time) => dayClock.format(time).replace(',', '');

/** `GMT+1`: the zone in which all of these are. */
export const zone = () => zoned.formatToParts(Date.now()).find(({ type }) => type === 'timeZoneName')?.value ?? 'local';
