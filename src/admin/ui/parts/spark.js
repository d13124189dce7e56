// A row of small bars, for a figure or a row of a list: the shape of a day at a glance. The number beside it says how
// much; what cannot see it hears the label. Not for: reading a single value, which is `chart.js`.

import { html } from '../lib.js';

const HEIGHT = 20;
/** What is more than nothing can be seen. */
const LEAST = 2;

/**
 * @param {object} props
 * @param {(number | null)[]} props.values  null where nothing was measured
 * @param {string} props.label  what it shows, in words
 */
export function Spark({ values, label }) {
  const known = values.filter((value) => value !== null);
  const most = Math.max(...known, 1);
  const bars = values.map((value, place) => {
    const height = value ? Math.max((value / most) * HEIGHT, LEAST) : 0;
    return height ? `M${place + 0.1} ${HEIGHT}v${-round(height)}h.8V${HEIGHT}z` : '';
  });
  const width = Math.max(values.length, 1);
  return html`
    <svg class="spark" role="img" aria-label=${label} viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none">
      <path class="spark-ground" d="M0 ${HEIGHT - 0.5}H${width}" />
      <path class="spark-bars" d=${bars.join('')} />
    </svg>
  `;
}

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;
