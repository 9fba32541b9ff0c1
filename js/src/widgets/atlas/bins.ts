/** The bars of a histogram: which rows are in which, found once a column. */

import type { Column } from '../../lib/protocol';
import { pack, type Bits } from '../../lib/selection';
import { spoken } from '../../lib/tokens';
import { codesOf, numbersOf } from './columns';
import { rows as rowsInWords, short } from './words';

export interface Bins {
  /** What each bar stands for, in words. */
  names: string[];
  /** The edges of the bars of a number, one more than there are bars; null for labels. */
  edges: number[] | null;
  counts: Uint32Array;
  /** The bar of each row; `NONE` where the value is missing. */
  of: Uint16Array;
  missing: number;
  note: string;
}

export const NONE = 0xffff;
const BARS = 32;
const MOST_LEVELS = 48;

/** The next of 1, 2, 5, 10, 20… times a power of ten that is at least so large. */
export function roundStep(least: number): number {
  if (!(least > 0)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find(step => step * power >= least * (1 - 1e-9)) ?? 10);
}

export function binsOf(column: Column): Bins {
  return column.kind === 'number' ? binNumbers(column) : binLabels(column);
}

function binNumbers(column: Column): Bins {
  const values = numbersOf(column);
  let [low, high, fractional] = [Infinity, -Infinity, false];
  for (const value of values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      fractional ||= value !== Math.trunc(value);
    }
  }
  const some = low <= high;
  const few = some && !fractional && high - low < BARS;
  const step = !some || few ? 1 : roundStep((high - low || 1) / BARS);
  // whole numbers stand in the middle of their bars
  const first = some ? (few ? low - 0.5 : Math.floor(low / step) * step) : 0;
  const bars = some ? Math.max(1, few ? high - low + 1 : Math.floor((high - first) / step + 1e-9) + 1) : 0;
  const edges = Array.from({ length: bars + 1 }, (_, index) => first + index * step);
  const of = new Uint16Array(values.length).fill(NONE);
  const counts = new Uint32Array(bars);
  for (let row = 0; row < values.length; row += 1) {
    const value = values[row] ?? NaN;
    if (Number.isFinite(value)) {
      const bar = Math.min(bars - 1, Math.max(0, Math.floor((value - first) / step)));
      of[row] = bar;
      counts[bar] = (counts[bar] ?? 0) + 1;
    }
  }
  const names = edges
    .slice(0, -1)
    .map((edge, index) => (few ? short(edge + 0.5) : `${short(edge)} to ${short(edges[index + 1] ?? NaN)}`));
  return finish(names, edges, counts, of, '');
}

function binLabels(column: Column): Bins {
  const codes = codesOf(column);
  const { levels } = column;
  const all = new Uint32Array(levels.length);
  for (const code of codes) {
    if (code < all.length) {
      all[code] = (all[code] ?? 0) + 1;
    }
  }
  const order = [...levels.keys()];
  const many = levels.length > MOST_LEVELS;
  // of too many labels the commonest have bars of their own
  const shown = many ? order.sort((a, b) => (all[b] ?? 0) - (all[a] ?? 0)).slice(0, MOST_LEVELS - 1) : order;
  const bar = new Uint16Array(levels.length).fill(many ? shown.length : NONE);
  shown.forEach((level, index) => (bar[level] = index));
  const names = shown.map(level => spoken(levels[level] ?? ''));
  const note = many ? `the ${shown.length} commonest of ${levels.length.toLocaleString('en-US')} labels` : '';
  if (many) {
    names.push('all others');
  }
  const of = new Uint16Array(codes.length).fill(NONE);
  const counts = new Uint32Array(names.length);
  for (let row = 0; row < codes.length; row += 1) {
    const at = bar[codes[row] ?? levels.length] ?? NONE;
    of[row] = at;
    if (at !== NONE) {
      counts[at] = (counts[at] ?? 0) + 1;
    }
  }
  return finish(names, null, counts, of, note);
}

function finish(names: string[], edges: number[] | null, counts: Uint32Array, of: Uint16Array, note: string): Bins {
  const missing = of.length - counts.reduce((a, b) => a + b, 0);
  const notes = [note, missing > 0 ? `${rowsInWords(missing)} without a value` : ''].filter(text => text !== '');
  return { names, edges, counts, of, missing, note: notes.join('; ') };
}

/** How many picked rows there are in each bar. */
export function pickedIn(bins: Bins, picked: Bits): Uint32Array {
  const counts = new Uint32Array(bins.counts.length);
  for (let byte = 0; byte < picked.length; byte += 1) {
    for (let bits = picked[byte] ?? 0, row = byte * 8; bits !== 0; bits >>= 1, row += 1) {
      const bar = (bits & 1) === 1 ? (bins.of[row] ?? NONE) : NONE;
      if (bar !== NONE) {
        counts[bar] = (counts[bar] ?? 0) + 1;
      }
    }
  }
  return counts;
}

/** The rows of the bars from one to another, both included, in any order. */
export function rowsBetween(bins: Bins, from: number, to: number): Bits {
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  return pack(bins.of.map(bar => Number(bar >= low && bar <= high && bar !== NONE)));
}
