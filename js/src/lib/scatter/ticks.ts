/** Round numbers for an axis. */

export interface Tick {
  value: number;
  text: string;
}

const MINUS = '\u2212';

/** A step of 1, 2 or 5 times a power of ten with about `wanted` of them in the range. */
export function roundStep(low: number, high: number, wanted: number): number {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const share = rough / power;
  return power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

/** Ticks at round numbers from `low` to `high`, as many digits in each as tell them apart. */
export function ticks(low: number, high: number, wanted: number): Tick[] {
  if (!(high > low) || !Number.isFinite(high - low)) {
    return [];
  }
  const step = roundStep(low, high, wanted);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // where the numbers are too close for their size, counting would never end
  return Array.from({ length: Math.min(100, Math.max(0, last - first + 1)) }, (_, index) => {
    const value = (first + index) * step;
    return { value: value === 0 ? 0 : value, text: format(value, step) };
  });
}

/** A number with the digits that a step of that size needs. */
export function format(value: number, step: number): string {
  const size = Math.max(Math.abs(value), step);
  const power = Math.floor(Math.log10(step) + 1e-9);
  let text: string;
  if (value === 0) {
    text = '0';
  } else if (size >= 1e6 || step < 1e-5) {
    const digits = Math.max(0, Math.floor(Math.log10(Math.abs(value)) + 1e-9) - power);
    text = Math.abs(value).toExponential(Math.min(15, digits)).replace('e+', 'e').replace('e-', `e${MINUS}`);
  } else {
    text = Math.abs(value).toFixed(Math.min(15, Math.max(0, -power)));
  }
  return value < 0 ? MINUS + text : text;
}
