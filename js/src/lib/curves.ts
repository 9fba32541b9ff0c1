/** From samples over the circle to lines on a plane. */

import { fixed, normalise, TURN } from './angles';
import { DASHES, LIGHT } from './theme';

export interface Sample {
  angle: number;
  value: number;
}

/** Samples in the order of their angles, with the first repeated at the end once the sweep has come round. */
export function aroundOnce(angles: readonly number[], values: readonly number[]): Sample[] {
  const samples = angles
    .slice(0, values.length)
    .map((angle, index) => ({ angle: normalise(angle), value: values[index] ?? 0 }))
    .sort((a, b) => a.angle - b.angle);
  const [first, last] = [samples[0], samples.at(-1)];
  if (first !== undefined && last !== undefined && first.angle < 1e-6 && TURN - last.angle <= widestGap(samples)) {
    samples.push({ angle: TURN, value: first.value });
  }
  return samples;
}

/**
 * The widest gap that a line may cross: about two ordinary distances between neighbours. A sweep may come
 * from coarse to fine, or from one end to the other; a line never crosses what has not been looked at.
 */
export function widestGap(samples: readonly Sample[]): number {
  const distances = samples
    .slice(1)
    .map((sample, index) => sample.angle - (samples[index]?.angle ?? 0))
    .filter(distance => distance > 1e-6)
    .sort((a, b) => a - b);
  return 2.1 * (distances[Math.floor(distances.length / 2)] ?? 0);
}

/** An SVG path through samples, broken where the sweep has not been yet. A lone sample becomes a dot. */
export function pathThrough(
  samples: readonly Sample[],
  x: (angle: number) => number,
  y: (value: number) => number,
  gap = widestGap(samples)
): string {
  let path = '';
  samples.forEach((sample, index) => {
    const before = samples[index - 1];
    const after = samples[index + 1];
    const joined = before !== undefined && sample.angle - before.angle <= gap;
    path += `${joined ? 'L' : 'M'}${fixed(x(sample.angle))} ${fixed(y(sample.value))}`;
    if (!joined && (after === undefined || after.angle - sample.angle > gap)) {
      path += 'h0';
    }
  });
  return path;
}

export interface Look {
  colour: string;
  dashes: string;
}

/** Colour and dash pattern of the n-th series; the pattern changes when the colours begin again. */
export function lookOf(index: number): Look {
  const colours = LIGHT.series.length;
  const dash = DASHES[(index + Math.floor(index / colours)) % DASHES.length] ?? 'none';
  return { colour: `var(--nbi-s${index % colours})`, dashes: dash };
}
