/** A frame for curves over a number: scales, ticks, and labels at the ends of the lines. */

import { fixed } from './angles';

export interface Scale {
  low: number;
  high: number;
  from: number;
  to: number;
}

export function place(scale: Scale, value: number): number {
  const { low, high, from, to } = scale;
  return high > low ? from + ((value - low) / (high - low)) * (to - from) : (from + to) / 2;
}

/** The value at a place, at an end of the scale for what lies beyond. */
export function valueAtPlace({ low, high, from, to }: Scale, at: number): number {
  return low + Math.min(1, Math.max(0, (at - from) / (to - from))) * (high - low);
}

/** About `n` round numbers from `low` to `high`, none outside. */
export function ticks(low: number, high: number, n: number): number[] {
  if (!(high > low) || n < 1) {
    return [];
  }
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find(by => by * power >= rough * 0.999) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Quarters of a turn, or halves where there are many, for an axis of angles. */
export function turnTicks(low: number, high: number): number[] {
  const quarter = Math.PI / 2;
  const first = Math.ceil(low / quarter - 1e-6);
  const last = Math.floor(high / quarter + 1e-6);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * quarter);
}

/** "−π/2", "0", "3π/2". */
export function inPi(angle: number): string {
  const quarters = Math.round(angle / (Math.PI / 2));
  const [n, of] = quarters % 2 === 0 ? [quarters / 2, ''] : [quarters, '/2'];
  const times = Math.abs(n) === 1 ? 'π' : `${Math.abs(n)}π`;
  return n === 0 ? '0' : `${n < 0 ? '−' : ''}${times}${of}`;
}

/** The value of a sampled line between its samples; NaN where nothing is known. Samples come in any order. */
export function interpolate(xs: readonly number[], ys: readonly number[], at: number): number {
  let [below, above] = [-1, -1];
  for (let index = 0; index < Math.min(xs.length, ys.length); index += 1) {
    const x = xs[index] ?? NaN;
    if (x <= at && (below < 0 || x > (xs[below] ?? NaN))) {
      below = index;
    }
    if (x >= at && (above < 0 || x < (xs[above] ?? NaN))) {
      above = index;
    }
  }
  const [low, high] = [below < 0 ? above : below, above < 0 ? below : above];
  const [x0, x1, y0, y1] = [xs[low] ?? NaN, xs[high] ?? NaN, ys[low] ?? NaN, ys[high] ?? NaN];
  return x1 > x0 ? y0 + ((at - x0) / (x1 - x0)) * (y1 - y0) : y0;
}

/** An SVG path through samples in the order of their xs; what comes later may fill the gaps. */
export function linePath(
  xs: readonly number[],
  ys: readonly number[],
  x: (value: number) => number,
  y: (value: number) => number
): string {
  const samples = xs
    .slice(0, ys.length)
    .map((at, index): [number, number] => [at, ys[index] ?? NaN])
    .filter(([, value]) => Number.isFinite(value))
    .sort(([a], [b]) => a - b);
  const points = samples.map(([at, value]) => `${fixed(x(at))} ${fixed(y(value))}`);
  return points.length === 1 ? `M${points[0] ?? ''}h0` : points.length === 0 ? '' : `M${points.join('L')}`;
}

/** Push labels apart until none lies on another: their places, in the order that was given. */
export function spread(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, index) => index).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  const places = [...wanted];
  let floor = low;
  for (const index of order) {
    floor = Math.max(floor, wanted[index] ?? 0);
    places[index] = floor;
    floor += gap;
  }
  let ceiling = high;
  for (const index of order.reverse()) {
    places[index] = Math.min(ceiling, places[index] ?? 0);
    ceiling = (places[index] ?? 0) - gap;
  }
  return places;
}
