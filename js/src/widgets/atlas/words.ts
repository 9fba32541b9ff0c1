/** What the numbers say, in words. */

import type { Claim } from '../../lib/protocol';
import { numberOf } from './traits';

const LONGEST = 40;

/** "12,345". */
export function whole(value: number): string {
  return value.toLocaleString('en-US');
}

/** A number short enough for an axis or a cell: "0.0312", "1,240", "3e−7". */
export function short(value: number): string {
  if (!Number.isFinite(value)) {
    return '–';
  }
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-4)) {
    return value.toExponential(1).replace('-', '−').replace('e+', 'e').replace('e-', 'e−');
  }
  const text = Number.isInteger(value)
    ? whole(value)
    : size >= 1000
      ? whole(Math.round(value))
      : String(+value.toPrecision(3));
  return text.replace('-', '−');
}

/** A chance as papers write it: "p = .03", "p < .001"; empty where nothing was tested. */
export function chance(p: unknown): string {
  const value = numberOf(p);
  if (!Number.isFinite(value)) {
    return '';
  }
  if (value < 0.001) {
    return 'p < .001';
  }
  return value >= 0.995 ? 'p = 1' : `p = ${value.toFixed(value < 0.01 ? 3 : 2).replace(/^0/, '')}`;
}

/** "1 row", "12,000 rows". */
export function rows(count: number): string {
  return `${whole(count)} ${count === 1 ? 'row' : 'rows'}`;
}

/** A label cut to a length that leaves room for others. */
export function cut(text: string, longest = LONGEST): string {
  const characters = Array.from(text.slice(0, longest * 2 + 2));
  return characters.length > longest ? `${characters.slice(0, longest - 1).join('')}…` : text;
}

export interface Verdict {
  /** Tells verdicts apart without colour. */
  sign: string;
  words: string;
  kind: 'sure' | 'unsure' | 'untested';
}

/** How sure a claim is, counting all looks that were taken. */
export function verdictOf(claim: Claim): Verdict {
  const p = numberOf(claim.p_corrected);
  if (!Number.isFinite(p)) {
    return { sign: '○', words: 'not tested', kind: 'untested' };
  }
  return p <= 0.05
    ? { sign: '✓', words: 'more than chance', kind: 'sure' }
    : { sign: '≈', words: 'may be chance', kind: 'unsure' };
}

const EFFECTS: Readonly<Record<Claim['kind'], string>> = {
  direction: 'AUC',
  plane: 'share of the variance',
  circle: 'R²'
};

/** How large what was found is, on rows that were held out: "AUC 0.96"; empty where nothing was measured. */
export function effectOf(claim: Claim): string {
  const effect = numberOf(claim.effect);
  return Number.isFinite(effect) ? `held-out ${EFFECTS[claim.kind]} ${effect.toFixed(2)}` : '';
}

/** "p = .002, corrected for 4 looks p = .008". */
export function sureness(claim: Claim, looks: number): string {
  const [raw, corrected] = [chance(claim.p), chance(claim.p_corrected)];
  if (raw === '') {
    return '';
  }
  return looks > 1 ? `${raw}, corrected for ${looks} looks ${corrected}` : raw;
}
