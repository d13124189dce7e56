// Counts over time as stacked bars. The legend is the read-out: it names what the pointer or the arrow keys choose, and
// everything otherwise; the same numbers are there as a table. Times are those of the browser's zone, which is named.
// Not for: what is counted.

import { html, useMemo, useState } from '../lib.js';
import { clockTime, dayTime, zone } from './figures.js';
import { compact, number } from './time.js';

/**
 * One layer of the bars, the first one at the bottom.
 * @typedef {object} Series
 * @property {string} label
 * @property {'ok' | 'bad' | 'warn' | 'plain' | 'faint'} tone
 * @property {number[]} values  one a step
 */

const HEIGHT = 100;
const BARS_MAX = 61;
const MINUTE = 60;
const BAR_SECONDS = [1, 2, 5, 6, 10, 15, 30, 60, 120, 360, 720, 1440].map((minutes) => minutes * MINUTE);
const MARK_SECONDS = [5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map((minutes) => minutes * MINUTE);
const MARKS_MAX = 5;
/** Behind this share of the width there is no room for a text. */
const MARKED = 0.92;
const LINES_MAX = 4;

/**
 * What `GET /usage` has of all requests.
 * @param {{decisions: Record<string, number[]>}} series
 * @returns {Series[]}
 */
export function decisionSeries({ decisions }) {
  /** @type {[string, string, Series['tone']][]} */
  const layers = [
    ['allowed', 'Allowed', 'ok'],
    ['public', 'Public', 'plain'],
    ['anonymous', 'Anonymous', 'faint'],
    ['would_refuse', 'Would be refused', 'warn'],
    ['refused', 'Refused', 'bad'],
  ];
  return layers
    .map(([name, label, tone]) => ({ name, label, tone, values: decisions[name] ?? [] }))
    .filter(({ name, values }) => name === 'allowed' || name === 'refused' || values.some(Boolean));
}

/**
 * What `GET /keys/{id}/usage` has of one key.
 * @param {{requests: number[], refused: number[], failed: number[]}} series
 * @returns {Series[]}
 */
export function keySeries({ requests, refused, failed }) {
  const passed = requests.map((all, place) => Math.max(all - refused[place] - failed[place], 0));
  return [
    { label: 'Answered', tone: 'ok', values: passed },
    { label: 'Failed upstream', tone: 'warn', values: failed },
    { label: 'Refused', tone: 'bad', values: refused },
  ];
}

/**
 * Joins steps to bars that begin at round times; the first and the last may be shorter.
 * @param {string} start  when the first step begins
 * @param {number} stepSeconds
 * @param {number} steps
 */
export function bins(start, stepSeconds, steps) {
  const first = Date.parse(start) / 1_000;
  const whole = steps * stepSeconds;
  const length = BAR_SECONDS.find((size) => whole / size <= BARS_MAX - 1) ?? whole;
  const origin = Math.floor(first / length) * length;
  /** @param {number} step */
  const bar = (step) => Math.floor((first + step * stepSeconds - origin) / length);
  const bars = steps > 0 ? bar(steps - 1) + 1 : 0;
  return {
    bars,
    seconds: length,
    /** When a bar begins, in milliseconds. @param {number} place */
    begins: (place) => (origin + place * length) * 1_000,
    /**
     * @param {(number | null)[]} values
     * @param {(sum: number | null, value: number) => number} [join]
     * @returns {(number | null)[]}
     */
    join(values, join = (sum, value) => (sum ?? 0) + value) {
      const joined = /** @type {(number | null)[]} */ (Array(bars).fill(null));
      values.forEach((value, step) => {
        if (value !== null) joined[bar(step)] = join(joined[bar(step)], value);
      });
      return joined;
    },
  };
}

/**
 * @param {object} props
 * @param {string} props.label
 * @param {Series[]} props.series
 * @param {string} props.start
 * @param {number} props.stepSeconds
 */
export function StackedChart({ label, series, start, stepSeconds }) {
  const [chosen, choose] = useState(/** @type {number | null} */ (null));
  const [tabular, showTable] = useState(false);
  const steps = Math.max(0, ...series.map(({ values }) => values.length));
  const shape = useMemo(() => drawn(series, start, stepSeconds, steps), [series, start, stepSeconds, steps]);
  const { bars, seconds, begins } = shape.bins;
  if (!bars) return html`<p class="muted">No measurements yet.</p>`;

  const at = chosen === null ? null : Math.min(chosen, bars - 1);
  const span = at === null ? spanned(steps * stepSeconds) : between(begins(at), seconds);
  /** @param {number} layer @param {number | null} place */
  const value = (layer, place) => (place === null ? shape.sums[layer] : shape.layers[layer][place]);
  const spoken = series.map(({ label: name }, layer) => `${number(value(layer, at))} ${name.toLowerCase()}`).join(', ');

  /** @param {PointerEvent & {currentTarget: Element}} event */
  const point = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    choose(Math.max(0, Math.min(bars - 1, Math.floor(((event.clientX - left) / width) * bars))));
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    const last = bars - 1;
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -6, PageUp: 6 };
    /** @type {Record<string, number>} */
    const moves = { ...steps, Home: -last, End: last };
    const move = moves[event.key];
    if (event.key === 'Escape' && at !== null) choose(null);
    else if (move) choose(Math.max(0, Math.min(last, at === null ? last : at + move)));
    else return;
    event.preventDefault();
  };

  return html`
    <div class="chart">
      <div class="chart-head">
        <ul class="chart-legend">
          <li class="chart-span">${span}</li>
          ${series.map(
            ({ label: name, tone }, layer) => html`
              <li key=${name}>
                <span class="swatch tone-${tone}"></span>${name} <b>${number(value(layer, at))}</b>
              </li>
            `,
          )}
        </ul>
        <button type="button" class="button quiet" aria-pressed=${tabular} onClick=${() => showTable(!tabular)}>
          Table
        </button>
      </div>
      ${tabular
          ? html`<${ChartTable} label=${label} series=${series} shape=${shape} />`
          : html`
              <div class="chart-plot">
                ${shape.lines.map(
                  (line) => html`
                    <div key=${line} class="chart-line" style=${{ bottom: percent(line, shape.top) }} aria-hidden="true">
                      <span>${compact(line)}</span>
                    </div>
                  `,
                )}
                <div
                  class="chart-bars"
                  role="slider"
                  tabindex="0"
                  aria-label=${`${label}: choose a time`}
                  aria-valuemin="0"
                  aria-valuemax=${bars - 1}
                  aria-valuenow=${at ?? bars - 1}
                  aria-valuetext=${`${span}: ${spoken}`}
                  onPointerMove=${point}
                  onPointerDown=${point}
                  onPointerLeave=${() => choose(null)}
                  onBlur=${() => choose(null)}
                  onKeyDown=${press}
                >
                  <svg viewBox="0 0 ${bars} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
                    ${at !== null && html`<rect class="chart-chosen" x=${at} y="0" width="1" height=${HEIGHT} />`}
                    ${series.map(
                      ({ label: name, tone }, layer) => html`
                        <path key=${name} class="tone-${tone}" d=${shape.paths[layer]} />
                      `,
                    )}
                  </svg>
                </div>
              </div>
              <div class="chart-times" aria-hidden="true">
                ${shape.marks.map(
                  ({ place, text }) => html`<span key=${place} style=${{ left: percent(place, bars) }}>${text}</span>`,
                )}
              </div>
            `}
    </div>
  `;
}

/** @param {{label: string, series: Series[], shape: ReturnType<typeof drawn>}} props */
function ChartTable({ label, series, shape }) {
  const { bars, seconds, begins } = shape.bins;
  const places = Array.from({ length: bars }, (_, place) => bars - 1 - place);
  return html`
    <div class="chart-table" role="region" aria-label=${label} tabindex="0">
      <table>
        <thead>
          <tr>
            <th scope="col">Time (${zone()})</th>
            ${series.map(({ label: name }) => html`<th key=${name} scope="col" class="number">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${places.map(
            (place) => html`
              <tr key=${begins(place)}>
                <th scope="row">${between(begins(place), seconds)}</th>
                ${shape.layers.map((layer) => html`<td class="number">${number(layer[place])}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/**
 * Everything that does not depend on what is chosen.
 * @param {Series[]} series
 * @param {string} start
 * @param {number} stepSeconds
 * @param {number} steps
 */
function drawn(series, start, stepSeconds, steps) {
  const binned = bins(start, stepSeconds, steps);
  const layers = series.map(({ values }) => binned.join(values).map((value) => value ?? 0));
  const sums = layers.map((layer) => layer.reduce((sum, value) => sum + value, 0));
  const total = (/** @type {number} */ place) => layers.reduce((sum, layer) => sum + layer[place], 0);
  const totals = Array.from({ length: binned.bars }, (_, place) => total(place));
  const line = roundStep(Math.max(1, ...totals));
  const top = Math.max(line, Math.ceil(Math.max(...totals, 0) / line) * line);
  const lines = Array.from({ length: Math.round(top / line) }, (_, index) => (index + 1) * line);
  const below = Array(binned.bars).fill(0);
  const paths = layers.map((layer) =>
    layer
      .map((value, place) => {
        if (!value) return '';
        const from = HEIGHT - (below[place] / top) * HEIGHT;
        below[place] += value;
        const to = HEIGHT - (below[place] / top) * HEIGHT;
        return `M${place + 0.12} ${round(from)}V${round(to)}h.76V${round(from)}z`;
      })
      .join(''),
  );
  return { bins: binned, layers, sums, top, lines, paths, marks: marks(binned) };
}

/** The distance of lines that are whole, round and few. @param {number} most */
function roundStep(most) {
  const rough = most / LINES_MAX;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  return Math.max(1, Math.round(step));
}

/** Where a time is written below the bars. @param {ReturnType<typeof bins>} binned */
function marks({ bars, seconds, begins }) {
  const apart = MARK_SECONDS.find((size) => (bars * seconds) / size <= MARKS_MAX) ?? bars * seconds;
  return Array.from({ length: bars }, (_, place) => place)
    .filter((place) => {
      if (place > bars * MARKED) return false;
      const time = new Date(begins(place));
      const local = time.getTime() / 1_000 - time.getTimezoneOffset() * MINUTE;
      return local % apart === 0;
    })
    .map((place) => ({ place, text: clockTime(begins(place)) }));
}

/** @param {number} begin @param {number} seconds */
const between = (begin, seconds) => `${dayTime(begin)}–${clockTime(begin + seconds * 1_000)}`;

/** @param {number} seconds */
const spanned = (seconds) =>
  seconds >= 7_200 ? `Last ${Math.round(seconds / 3_600)} hours` : `Last ${Math.round(seconds / MINUTE)} minutes`;

/** For a position. @param {number} some @param {number} all */
const percent = (some, all) => `${(some / all) * 100}%`;

/** @param {number} value */
const round = (value) => Math.round(value * 100) / 100;
