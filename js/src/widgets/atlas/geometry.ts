/** Where classes of persistent homology are drawn: the same picture as nbinterp/charts/diagrams.py gives. */

import type { Feature, Shapes } from '../../lib/protocol';
import { roundStep } from './bins';
import { numberOf } from './traits';

export const KINDS = ['H0 clusters', 'H1 loops', 'H2 cavities'] as const;
/** What one of each is called in a sentence. */
export const ONE = ['cluster', 'loop', 'cavity'] as const;

/** Where a class dies in the drawing: what never dies is drawn at the end of the axis. */
export function deathOf(feature: Feature, end: number): number {
  const death = numberOf(feature.death);
  return Number.isFinite(death) ? Math.min(death, end) : end;
}

/** Whether a class never dies: nothing else reaches the end of the axis. */
export function livesOn(feature: Feature, end: number): boolean {
  return deathOf(feature, end) >= end;
}

export function lifetime(feature: Feature, end: number): number {
  return deathOf(feature, end) - feature.birth;
}

/** Death / birth; NaN for what is born at 0 or never dies. */
export function ratioOf(feature: Feature, end: number): number {
  return feature.birth > 0 && !livesOn(feature, end) ? numberOf(feature.death) / feature.birth : NaN;
}

/** Classes of one dimension, the longest-lived first. */
export function ranked(features: readonly Feature[], dimension: number, end: number): Feature[] {
  return features.filter(f => f.dimension === dimension).sort((a, b) => lifetime(b, end) - lifetime(a, end));
}

/** The corners (birth, death) of the line that noise stays below; none where there is no such line. */
export function limits(shapes: Pick<Shapes, 'threshold' | 'ratio' | 'end'>): [number, number][] {
  const { end } = shapes;
  const threshold = numberOf(shapes.threshold) || 0;
  const ratio = Math.max(1, numberOf(shapes.ratio) || 1);
  if ((threshold <= 0 && ratio <= 1) || threshold >= end) {
    return [];
  }
  // a class must live long, and long for its birth
  const bend = ratio > 1 ? threshold / (ratio - 1) : end;
  const heights = [threshold, ...(bend * ratio < end ? [bend * ratio] : []), end];
  return heights.map(death => [Math.min(death - threshold, death / ratio), death]);
}

/** Whether a loop lies above both limits. */
export function isAbove(feature: Feature, shapes: Pick<Shapes, 'threshold' | 'ratio' | 'end'>): boolean {
  const threshold = numberOf(shapes.threshold);
  const ratio = numberOf(shapes.ratio);
  const birth = feature.birth;
  const death = deathOf(feature, shapes.end);
  return Number.isFinite(threshold) && death - birth > threshold && !(death / birth < ratio);
}

/** Round places on an axis from 0 to its end. */
export function ticks(end: number, about = 4): number[] {
  const step = roundStep(end / about);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, index) => +(index * step).toPrecision(12));
}
